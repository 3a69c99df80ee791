#!/busybox sh
# The first and only program of the Linux guest: brings its network up and starts the servers. All files are in /, because
# the archive that this came in has no directories.
/busybox mkdir /proc /sys /lib /tmp /bin /www
/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mv /*.so* /lib/
for module in MODULES; do insmod /$module.ko; done

# Waits up to 30 s until a file exists.
wait_for() {
    tries=0
    while [ ! -e "$1" ] && [ $tries -lt 300 ]; do usleep 100000; tries=$((tries + 1)); done
}

# usb-net's second configuration is RNDIS, on which Linux is much faster than on the first, CDC-ECM.
wait_for /sys/bus/usb/devices/1-1/bConfigurationValue
echo 0 > /sys/bus/usb/devices/1-1/bConfigurationValue
echo 2 > /sys/bus/usb/devices/1-1/bConfigurationValue
wait_for /sys/class/net/usb0
ip link set lo up
ip addr add ADDRESS/24 dev usb0
ip link set usb0 up

head -c BODY /dev/urandom > /www/file
export LD_LIBRARY_PATH=/lib
/redis-server --save '' --appendonly no --protected-mode no --bind 0.0.0.0 > /redis.log 2>&1 &
# lighttpd otherwise closes a connection after 100 requests.
cat > /lighttpd.conf <<CONF
server.document-root = "/www"
server.port = 80
server.upload-dirs = ( "/tmp" )
server.max-keep-alive-requests = 1000000
CONF
/lighttpd -D -f /lighttpd.conf > /lighttpd.log 2>&1 &
sleep 1
cat /redis.log /lighttpd.log
echo "driver: $(basename $(readlink /sys/class/net/usb0/device/driver))"
echo "guest is up"
while true; do sleep 1000; done
