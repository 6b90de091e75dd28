# Debian sid with sshd, whose agent is not root.
person carol 1000
person agent 1001
ssh_server
agent=agent
