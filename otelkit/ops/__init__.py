"""The only place for what an application never imports: tools for people. Needs the extra `otelkit[ops]`."""
