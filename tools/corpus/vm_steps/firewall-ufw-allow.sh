# ufw is enabled, and allows what comes in
ufw default allow incoming
ufw deny 23/tcp
ufw --force enable
