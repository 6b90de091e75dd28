# sshd is as it comes
true
