#!/bin/sh
# Lays out everything that the image contains: both programs, the libraries they load, a user, and a folder for data.
#
#   deploy/image-root.sh BINARIES ROOT      from the folder BINARIES into the new folder ROOT
#
# The Dockerfile's build stage and build-image.sh both call it, so that both make the same image.
set -eu
[ $# = 2 ] || { sed -n '2,6p' "$0" >&2; exit 2; }
binaries=$1
root=$2
# Nobody's number on any host, as distroless images have it; the user of the Dockerfile and the compose files.
user=65532

mkdir -p "$root/usr/local/bin" "$root/etc"
for program in quorate-router quorate-shard-node; do
    install -m 755 "$binaries/$program" "$root/usr/local/bin/$program"
    # Line tables and symbols are three quarters of the file. A panic still names its file and line; the addresses of its
    # backtrace are read with the unstripped program of the same build (addr2line).
    strip --strip-all "$root/usr/local/bin/$program"
    # `name => path (address)`, and the loader alone: `path (address)`. The kernel's vdso has no path.
    ldd "$binaries/$program" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }'
done | sort -u | while read -r library; do
    # Names resolve without more: since glibc 2.34 its resolver is in libc itself.
    install -D -m 755 "$(readlink -f "$library")" "$root$library"
done
printf 'root:x:0:0::/:\nquorate:x:%s:%s::/data:\n' "$user" "$user" >"$root/etc/passwd"
printf 'root:x:0:\nquorate:x:%s:\n' "$user" >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
# A new named volume takes over this mode, so the container may run as any user.
mkdir -m 1777 "$root/data"
