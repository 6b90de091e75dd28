# ufw is installed, and inactive
ufw --force disable
