#!/bin/sh
# Makes what the tests of images and binaries start from: a bare Debian by debootstrap, without Python,
# and from it the image localhost/wakizashi-base, with Python. No registry is asked: the packages come
# from where this host's own apt gets them. Kept in the user's cache for a week, then made anew, for
# what Debian mended meanwhile. The last line printed is the folder: minbase.tar, and storage.conf, the
# settings of an image storage of the tests' own, for CONTAINERS_STORAGE_CONF.
set -eu

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
folder=${XDG_CACHE_HOME:-$HOME/.cache}/wakizashi/$suite-$(dpkg --print-architecture)
export CONTAINERS_STORAGE_CONF="$folder/storage.conf"
base=localhost/wakizashi-base
mkdir -p "$folder"

# One at a time: two runs of the tests may come at once.
exec 9> "$folder/lock" 8> "$folder/in-use"
flock 9

# Whoever has mounted an image of the storage holds the lock in-use.
if [ -n "$(find "$folder/minbase.tar" -mtime +7 2> /dev/null)" ] && flock -n 8; then
  rm -rf "$folder/minbase.tar" "$folder/storage" "$folder/storage.conf"
fi

if [ ! -e "$folder/minbase.tar" ]; then
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" | head -n 1)
  echo "making a bare Debian $suite from $mirror, once a week"
  work=$(mktemp -d "$folder/debootstrap.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if ! debootstrap --variant=minbase "$suite" "$work/root" "$mirror" > "$work/log" 2>&1; then
    tail -n 5 "$work/log" >&2
    exit 1
  fi
  find "$work/root/var/cache/apt" "$work/root/var/lib/apt/lists" -type f -delete
  tar -C "$work/root" -cf "$work/minbase.tar" .
  mv "$work/minbase.tar" "$folder/minbase.tar"
fi

# Where the kernel has no overlay for us, such as inside a container, images are plain copies.
if [ ! -e "$folder/storage.conf" ]; then
  for driver in overlay vfs; do
    printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' \
      "$driver" "$folder/storage" "$folder/storage/run" > "$folder/storage.conf"
    if buildah info > /dev/null 2>&1; then break; fi
    rm -rf "$folder/storage"
  done
fi

if ! buildah inspect --type image "$base" > /dev/null 2>&1; then
  echo "making the image $base, once a week"
  if ! buildah build --isolation chroot --tag "$base" --file - "$folder" > "$folder/log" 2>&1 <<'END'
FROM scratch
ADD minbase.tar /
RUN apt-get update -q && apt-get install -y -q --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
CMD ["python3"]
END
  then
    tail -n 5 "$folder/log" >&2
    exit 1
  fi
fi
echo "$folder"
