"""The only place for the OTLP wire: what arrives (`model`), how it is read (`decode`), who takes it (`receiver`).

Nothing is imported here: `decode` and `receiver` load protobuf, and gRPC where asked for, on first use.
"""
