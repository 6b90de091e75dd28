# Runs the steps of one machine inside the tree, and records it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
name=$1
agent=root

person() { # NAME UID: an account with a home and a runtime directory
    useradd --create-home --shell /bin/bash --uid "$2" "$1"
    usermod --lock "$1"
    mkdir -p "/run/user/$2"
    chown "$1:" "/run/user/$2"
    chmod 700 "/run/user/$2"
}

as() { # NAME COMMAND…: in the user's session
    user=$1 uid=$(id -u "$1")
    shift
    runuser -u "$user" -- env -i HOME="/home/$user" USER="$user" PATH="$PATH" LC_ALL=C.UTF-8 \
        XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" \
        ${session_environment:-} "$@"
}

begin() { # NAME COMMAND…: the same, in the background
    as "$@" >/tmp/log 2>&1 &
}

wait_for() { # COMMAND…: until it succeeds, for a minute and a half at most
    for _ in $(seq 180); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.5
    done
    echo "$name: waited in vain for: $*" >&2
    cat /tmp/log >&2
    return 1
}

system_bus() {
    mkdir -p /run/dbus
    dbus-daemon --system --fork
}

user_bus() { # NAME
    as "$1" dbus-daemon --session --fork "--address=unix:path=/run/user/$(id -u "$1")/bus"
}

display() { # NAME DESKTOP: an X server without a screen, and the session's environment
    mkdir -p /tmp/.X11-unix /tmp/.ICE-unix
    chmod 1777 /tmp/.X11-unix /tmp/.ICE-unix
    user_bus "$1"
    begin "$1" Xvfb :0 -nolisten tcp
    wait_for test -S /tmp/.X11-unix/X0
    session_environment="DISPLAY=:0 XDG_CURRENT_DESKTOP=$2 XDG_SESSION_TYPE=x11"
}

starts() { # UNIT: the display manager that would be started
    ln -sf "/lib/systemd/system/$1.service" /etc/systemd/system/display-manager.service
    command -v "$1" >/etc/X11/default-display-manager
}

ssh_server() { # the daemon, with keys that are made now and thrown away
    mkdir -p /run/sshd
    /usr/sbin/sshd
}

. "/opt/steps/$name.sh"

mkdir /machine
chown "$agent" /machine
cd /
runuser -u "$agent" -- env -i PATH="$PATH" LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt:/opt/python QLMDM_STATE_DIR=/tmp/state \
    python3 -c 'from qlmdm_core.client.collect_cli import main; raise SystemExit(main())' \
    --record /machine --keep-names --yes
