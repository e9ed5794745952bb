#!/bin/sh
# Script for busybox udhcpc: records what the lease says in $LEASE_FILE and configures the interface with it.
case "$1" in
bound | renew)
    {
        echo "ip=$ip"
        echo "mask=$mask"
        echo "router=$router"
        echo "dns=$dns"
        echo "lease=$lease"
        echo "serverid=$serverid"
    } >"$LEASE_FILE"
    ip addr add "$ip/$mask" dev "$interface"
    # Only of who asks for it (-O mtu).
    [ -z "$mtu" ] || ip link set dev "$interface" mtu "$mtu"
    for gateway in $router; do
        ip route add default via "$gateway" dev "$interface"
    done
    ;;
esac
exit 0
