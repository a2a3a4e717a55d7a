/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The socket filter of the engine `ebpf`: counts packets by flow in a hash map and returns 0, so
 * that the kernel hands no packet to the process. See engines/ebpf.py for the other half.
 *
 * In: a packet on an AF_PACKET/SOCK_RAW socket, which begins with its link header in both
 * directions and has the length the link sees. Out: bytes and packets in the map of the open window.
 *
 * The window's map is reached through `window`, an array of maps with one place. Closing a window
 * puts another map into that place; the kernel answers only when no program still uses the old one
 * (maybe_wait_bpf_programs() in kernel/bpf/syscall.c), so what is read from it then is final.
 *
 * No header of the kernel or of a C library is included: what is used is declared here, after
 * include/uapi/linux/bpf.h.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

struct __sk_buff { /* only the head of it */
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto;
	u32 priority, ingress_ifindex, ifindex;
};

static void *(*map_lookup)(const void *map, const void *key) = (void *)1;
static long (*map_update)(const void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*load_bytes)(const void *skb, u32 offset, void *to, u32 length) = (void *)26;

#define BPF_NOEXIST 1
enum { HASH = 1, ARRAY_OF_MAPS = 12 }; /* enum bpf_map_type */

struct map { u32 type, key_bytes, value_bytes, entries; };

/* Numbers on the wire are big-endian, the object little-endian. */
#define NET16(x) ((u16)((x) << 8 | (x) >> 8))
enum { IPV4 = NET16(0x0800), IPV6 = NET16(0x86DD) };
enum { VLAN = NET16(0x8100), VLAN_SERVICE = NET16(0x88A8), VLAN_OLD = NET16(0x9100) };
enum { ETHERNET_TYPE_AT = 12, MOST_TAGS = 8, MOST_EXTENSIONS = 8, TCP = 6 };

/* What a flow's key says beside its addresses. OWN, NON_IP and OTHER are no flows but the device's
 * accounts, with addresses of zero; the process puts them into a window's map before it is used, so
 * they are always found. */
enum kind { OWN = 1, NON_IP = 2, OTHER = 3, FLOW4 = 4, FLOW6 = 6 };
#define KIND_SHIFT 28

struct key {
	u32 device; /* interface index, and the kind in the highest four bits */
	u32 source[4], destination[4];
};

struct tally {
	u64 packets, bytes;
	/* Of a flow: whether one of its addresses is the center's. Of OTHER: how many flows may
	 * still begin. */
	s64 mark;
};

struct endpoint {
	u32 address[4];
	u16 port; /* as on the wire; 0 stands for the host itself */
	u16 version;
};

SECTION("maps") struct map window = { ARRAY_OF_MAPS, 4, 4, 1 };
SECTION("maps") struct map flows = { HASH, sizeof(struct key), sizeof(struct tally), 0 };
SECTION("maps") struct map endpoints = { HASH, sizeof(struct endpoint), 1, 1024 };

INLINE int add(struct tally *tally, u32 size)
{
	if (tally) {
		__sync_fetch_and_add(&tally->packets, 1);
		__sync_fetch_and_add(&tally->bytes, size);
	}
	return 0;
}

INLINE struct tally *account(void *flows, u32 device, enum kind kind)
{
	struct key key = {};

	key.device = device | kind << KIND_SHIFT;
	return map_lookup(flows, &key);
}

INLINE int is_endpoint(const u32 address[4], u16 port, u16 version)
{
	struct endpoint endpoint = { { address[0], address[1], address[2], address[3] }, port, version };

	return map_lookup(&endpoints, &endpoint) != 0;
}

/* Whether the packet whose IP header lies at `at` is TCP from or to an endpoint. Extension headers
 * are skipped as in packet.py. */
INLINE int is_own(struct __sk_buff *skb, const struct key *key, u32 at)
{
	u16 version = key->device >> KIND_SHIFT;
	u16 ports[2];
	u8 head[8], next;

	if (version == 4) {
		u8 ip[12];

		if (load_bytes(skb, at, ip, sizeof ip) || ip[6] & 0x1F || ip[7])
			return 0;
		next = ip[9];
		at += (ip[0] & 15) * 4;
	} else {
		if (load_bytes(skb, at + 6, &next, 1))
			return 0;
		at += 40;
		for (int i = 0; i < MOST_EXTENSIONS && next != TCP; i++) {
			u32 length;

			if (load_bytes(skb, at, head, sizeof head))
				return 0;
			if (next == 0 || next == 43 || next == 60 || next == 135 || next == 139 || next == 140)
				length = (head[1] + 1) * 8;
			else if (next == 51)
				length = (head[1] + 2) * 4;
			else if (next == 44 && !head[2] && !(head[3] & 0xF8))
				length = 8;
			else
				return 0;
			next = head[0];
			at += length;
		}
	}
	if (next != TCP || load_bytes(skb, at, ports, sizeof ports))
		return 0;
	/* Nothing forbids a packet the port 0, which stands for the host itself in the map. */
	return (ports[0] && is_endpoint(key->source, ports[0], version)) ||
	       (ports[1] && is_endpoint(key->destination, ports[1], version));
}

/* The tally of a flow that has none yet in this window, or OTHER where it may not begin. */
INLINE struct tally *begin(void *flows, const struct key *key, s64 touches)
{
	struct tally *other = account(flows, key->device & ((1u << KIND_SHIFT) - 1), OTHER);
	struct tally fresh = { 0, 0, touches }, *tally;

	if (!other)
		return 0; /* the device is not watched any more */
	if (other->mark > 0) {
		__sync_fetch_and_add(&other->mark, -1);
		/* Another processor may have been first; either way it is there then, if there was room. */
		map_update(flows, key, &fresh, BPF_NOEXIST);
		tally = map_lookup(flows, key);
		if (tally)
			return tally;
	}
	return other;
}

INLINE int count(struct __sk_buff *skb, int ethernet)
{
	u64 space[4]; /* the packet from its EtherType on, the IP header aligned at `ip` */
	u8 *ip = (u8 *)space + 8;
	u16 *type = (u16 *)(ip - 2);
	u32 zero = 0, at = 0, size = skb->len;
	struct key key = {};
	struct tally *tally;
	void *flows;
	s64 touches;

	flows = map_lookup(&window, &zero);
	if (!flows)
		return 0;
	key.device = skb->ifindex;
	if (skb->vlan_present)
		size += 4; /* the tag that the kernel or the card took off */

	/* The least an IP packet has is an IPv4 header: 20 bytes. */
	if (ethernet) {
		at = ETHERNET_TYPE_AT + 2;
		for (int i = 0; i <= MOST_TAGS; i++) {
			if (load_bytes(skb, at - 2, type, 22))
				goto non_ip;
			if (*type != VLAN && *type != VLAN_SERVICE && *type != VLAN_OLD)
				break;
			at += 4;
		}
	} else {
		if (load_bytes(skb, 0, ip, 20))
			goto non_ip;
		*type = ip[0] >> 4 == 4 ? IPV4 : IPV6;
	}
	if (*type == IPV4 && ip[0] >> 4 == 4 && (ip[0] & 15) >= 5) {
		key.device |= (u32)FLOW4 << KIND_SHIFT;
		key.source[0] = *(u32 *)(ip + 12);
		key.destination[0] = *(u32 *)(ip + 16);
	} else if (*type == IPV6 && ip[0] >> 4 == 6 && !load_bytes(skb, at + 8, key.source, 32)) {
		key.device |= (u32)FLOW6 << KIND_SHIFT;
	} else {
		goto non_ip;
	}

	tally = map_lookup(flows, &key);
	if (tally) {
		touches = tally->mark;
	} else {
		u16 version = key.device >> KIND_SHIFT;

		touches = is_endpoint(key.source, 0, version) || is_endpoint(key.destination, 0, version);
		tally = begin(flows, &key, touches);
	}
	if (touches && is_own(skb, &key, at))
		tally = account(flows, skb->ifindex, OWN);
	return add(tally, size);

non_ip:
	return add(account(flows, skb->ifindex, NON_IP), size);
}

/* Devices whose packets begin with 14 bytes of Ethernet; loopback is one. */
SECTION("socket/ethernet") int ethernet(struct __sk_buff *skb)
{
	return count(skb, 1);
}

/* Devices whose packets begin with the IP header: tun, tunl0, wg. */
SECTION("socket/ip") int ip(struct __sk_buff *skb)
{
	return count(skb, 0);
}

/* What calling a program costs at all; bench/ebpf_program.py compares. */
SECTION("socket/empty") int empty(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

SECTION("license") char license_text[] = "Dual MIT/GPL";
