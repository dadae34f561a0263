"""An example shop: an API that takes orders, a payment service that charges them, a worker that confirms, and beat."""
