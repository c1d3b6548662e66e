#!/bin/sh
# The first and only program of the guest: brings up what an iSCSI host needs, then runs the commands that come by the second
# serial port, a line each, and answers each with its output and a last line that tells the exit status.
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /dev/pts /run/lock /run/udev
for module in $(cat /modules); do modprobe "$module" || echo "modprobe $module failed"; done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
/lib/systemd/systemd-udevd --daemon
udevadm trigger
udevadm settle
iscsid
multipathd
# Open from before it says that it is ready: what came earlier would be lost.
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo '@@END 0' >&3
while read -r line <&3; do
  sh -c "$line" > /tmp/output 2>&1 3<&-
  status=$?
  cat /tmp/output >&3
  printf '\n@@END %s\n' "$status" >&3
done
