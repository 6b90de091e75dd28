# No other disk is in use
true
