"""Model servers of others and what is sent to them."""
