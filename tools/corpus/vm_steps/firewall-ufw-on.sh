# ufw is enabled, and denies what comes in
ufw allow 22/tcp
ufw --force enable
