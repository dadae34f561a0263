"""What `demo.py` is made of; the examples themselves need nothing of it."""
