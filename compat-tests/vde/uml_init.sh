#!/bin/sh
# The first process of a User-Mode Linux whose root is the host's, through hostfs: the guest's agent on the console.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
# IPv6 is a module of Debian's kernel.
if [ ! -e /proc/sys/net/ipv6 ]; then
    for module in lib/crc-ccitt net/ipv6/ipv6; do
        busybox insmod "/usr/lib/uml/modules/$(uname -r)/kernel/$module.ko"
    done
fi
mount --bind "$RIG_RESOLV" /etc/resolv.conf
stty raw -echo
# shellcheck disable=SC2086
exec $RIG_AGENT
