"""An example of two services that call each other: the shop takes orders, the payment service charges them."""
