/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bpfpack.h - say inside an eBPF object what its maps, globals and members mean.
 *
 * Include it after vmlinux.h and <bpf/bpf_helpers.h>.  Every word below becomes a
 * BTF declaration tag ("bpfpack:WORD" or "bpfpack:WORD=VALUE", the value in UTF-8 up to
 * the end of the tag); order carries no meaning and one item has one value for a word.
 * Text goes in quotes; names, units and formats may stand bare.
 *
 *   BPFPACK_OUTPUT(map, type, ...)      a ring or perf buffer that carries `type`;
 *       name(n)                         call the output something else than the map
 *   BPFPACK_OUTPUT(map, by(member), type(struct a, A), type(struct b, B), ...)
 *       several types: of one whose member is A the first, where it is B the second.  In
 *       pieces, each its own statement: BPFPACK_OUTPUT(map, struct a, when(member, A)).
 *       Without a member, each BPFPACK_OUTPUT(map, type), their sizes must differ.
 *   BPFPACK_HISTOGRAM(map, ...)         each key of the map has an array of slots;
 *       log2 | linear(STEP) | exponential(N)   the scale, log2 unless told; N slots for each
 *                                       power of two, N being one of 1, 2, 4, ... 64
 *       unit(us)  slots(member)  interval(MS)  name(n)
 *   BPFPACK_TABLE(map, ...)             keys and values, read again and again;
 *       interval(MS)  sort(member)  unit(B)  name(n)
 *   BPFPACK_STACKS(map, ...)            how often stacks were seen: keys hold their numbers
 *       kernel(member)  user(member)    what bpf_get_stackid gave, without and with
 *                                       BPF_F_USER_STACK
 *       process(member)                 whose stack it is; traces(map) of stacks; each is
 *                                       found by its usual name where there is one
 *       interval(MS)  name(n)
 *
 *   BPFPACK_PARAM(...)                  on a `const volatile` global: its option;
 *       option(pid)  short(p)  help("...")  unit(ms)  role(target-pid)
 *       choices("read=0, write=1")  hidden (no option at all)
 *   BPFPACK_FIELD(...)                  on a struct member: how it is shown;
 *       title("...")  format(ipv4)  unit(ns)  clock(mono)  order(host)
 *       labels("0=read, 1=write") | labels("enum kind")  hidden
 *   BPFPACK_PROGRAM(...)                on a program: optional | alternative(group)
 *       attach("cpu-clock:99hz")        where to attach it unless `run` is told, again for more
 *       option(path)                    the package's option that tells where
 *   BPFPACK_PACKAGE(...)                name("...")  version("...")  description("...")
 *       license("...")  author("...")  homepage("...")  source("...")
 *   BPFPACK_ENUM(enum kind)             keep an enum that no member has, so that labels and
 *                                       choices may say its names: labels("READ=read")
 *
 * OUTPUT, HISTOGRAM, TABLE, STACKS, PACKAGE and ENUM are statements at file scope, after what they
 * speak of.
 * The words of an output sit on a static function __bpfpack_type_MAP_N that nothing
 * calls: its first parameter keeps the event's type in BTF, and each number is the
 * length of an array in a later parameter (__bpfpack_when, _step, _exponential, _interval), where the
 * compiler itself has worked out enumerators, macros and sizeof.  Several types are pairs
 * of members, __bpfpack_of_N and __bpfpack_when_N, of a union __bpfpack_types_N: no function
 * of this target has more than five parameters.
 *
 * Losses are exact where these are used instead of the plain helpers, with a map that an
 * OUTPUT, HISTOGRAM, TABLE or STACKS above names:
 *
 *   bpfpack_reserve(map, size)                  as bpf_ringbuf_reserve
 *   bpfpack_submit(p), bpfpack_discard(p)       as bpf_ringbuf_submit, _discard
 *   bpfpack_output(ctx, map, data, size)        into a ring or a perf buffer
 *   bpfpack_update(map, key, value)             as bpf_map_update_elem(..., BPF_ANY)
 *   bpfpack_lookup_or_init(map, key, init)      the value, made from *init when absent
 *   bpfpack_count_log2(map, key, value)         add one to a slot of a histogram
 *   bpfpack_count_linear(map, key, value, step)
 *   bpfpack_count_exponential(map, key, value, n)
 *
 * Each failure adds one to `static __u64 __bpfpack_lost_MAP` in .bss.  The variable
 * exists exactly when one of them is used; an object linked from several sources may
 * hold one for each, and their sum is what was lost.
 */
#ifndef BPFPACK_H
#define BPFPACK_H

#define BPFPACK_TAG(text) __attribute__((btf_decl_tag("bpfpack:" text)))

#define __bpfpack_glue2(a, b) a##b
#define __bpfpack_glue(a, b) __bpfpack_glue2(a, b)

/* __bpfpack_each(M, a, b) is M##a M##b, for up to sixteen words. */
#define __bpfpack_e0(m, ...)
#define __bpfpack_e1(m, a, ...) m##a
#define __bpfpack_e2(m, a, ...) m##a __bpfpack_e1(m, __VA_ARGS__)
#define __bpfpack_e3(m, a, ...) m##a __bpfpack_e2(m, __VA_ARGS__)
#define __bpfpack_e4(m, a, ...) m##a __bpfpack_e3(m, __VA_ARGS__)
#define __bpfpack_e5(m, a, ...) m##a __bpfpack_e4(m, __VA_ARGS__)
#define __bpfpack_e6(m, a, ...) m##a __bpfpack_e5(m, __VA_ARGS__)
#define __bpfpack_e7(m, a, ...) m##a __bpfpack_e6(m, __VA_ARGS__)
#define __bpfpack_e8(m, a, ...) m##a __bpfpack_e7(m, __VA_ARGS__)
#define __bpfpack_e9(m, a, ...) m##a __bpfpack_e8(m, __VA_ARGS__)
#define __bpfpack_e10(m, a, ...) m##a __bpfpack_e9(m, __VA_ARGS__)
#define __bpfpack_e11(m, a, ...) m##a __bpfpack_e10(m, __VA_ARGS__)
#define __bpfpack_e12(m, a, ...) m##a __bpfpack_e11(m, __VA_ARGS__)
#define __bpfpack_e13(m, a, ...) m##a __bpfpack_e12(m, __VA_ARGS__)
#define __bpfpack_e14(m, a, ...) m##a __bpfpack_e13(m, __VA_ARGS__)
#define __bpfpack_e15(m, a, ...) m##a __bpfpack_e14(m, __VA_ARGS__)
#define __bpfpack_e16(m, a, ...) m##a __bpfpack_e15(m, __VA_ARGS__)
#define __bpfpack_nth(_0, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, n, ...) n
#define __bpfpack_many(...)                                                                      \
	__bpfpack_nth(_, ##__VA_ARGS__, e16, e15, e14, e13, e12, e11, e10, e9, e8, e7, e6, e5, e4, \
		      e3, e2, e1, e0)
#define __bpfpack_each(m, ...) \
	__bpfpack_glue(__bpfpack_, __bpfpack_many(__VA_ARGS__))(m, ##__VA_ARGS__)

/* Words of an output: what goes into tags ... */
#define __bpfpack_ot_type(t, value)
#define __bpfpack_ot_when(member, value) BPFPACK_TAG("by=" #member)
#define __bpfpack_ot_log2
#define __bpfpack_ot_linear(step)
#define __bpfpack_ot_exponential(n)
#define __bpfpack_ot_interval(ms)
#define __bpfpack_ot_unit(u) BPFPACK_TAG("unit=" #u)
#define __bpfpack_ot_slots(member) BPFPACK_TAG("slots=" #member)
#define __bpfpack_ot_sort(member) BPFPACK_TAG("sort=" #member)
#define __bpfpack_ot_traces(map) BPFPACK_TAG("traces=" #map)
#define __bpfpack_ot_kernel(member) BPFPACK_TAG("kernel=" #member)
#define __bpfpack_ot_user(member) BPFPACK_TAG("user=" #member)
#define __bpfpack_ot_process(member) BPFPACK_TAG("process=" #member)
#define __bpfpack_ot_name(n) BPFPACK_TAG("name=" #n)
/* ... and what goes into parameters. */
#define __bpfpack_op_number(word, n) \
	, __attribute__((unused)) const char(*__bpfpack_##word)[(unsigned int)(n)]
#define __bpfpack_op_type(t, n)
#define __bpfpack_op_when(member, n) __bpfpack_op_number(when, n)
#define __bpfpack_op_log2
#define __bpfpack_op_linear(n) __bpfpack_op_number(step, n)
#define __bpfpack_op_exponential(n) __bpfpack_op_number(exponential, n)
#define __bpfpack_op_interval(n) __bpfpack_op_number(interval, n)
#define __bpfpack_op_unit(u)
#define __bpfpack_op_slots(member)
#define __bpfpack_op_sort(member)
#define __bpfpack_op_traces(map)
#define __bpfpack_op_kernel(member)
#define __bpfpack_op_user(member)
#define __bpfpack_op_process(member)
#define __bpfpack_op_name(n)
/* The members of the union of types. */
#define __bpfpack_om_type(t, n)                          \
	t __bpfpack_glue(__bpfpack_of_, __COUNTER__);    \
	const char(*__bpfpack_glue(__bpfpack_when_, __COUNTER__))[(unsigned int)(n)];
#define __bpfpack_om_name(n)

#define __bpfpack_decl(kind, map, type, ...)                          \
	__attribute__((used)) BPFPACK_TAG(kind "=" #map)              \
	__bpfpack_each(__bpfpack_ot_, ##__VA_ARGS__) static int       \
	__bpfpack_glue(__bpfpack_type_##map##_, __COUNTER__)(         \
		__attribute__((unused)) const type *__bpfpack_of      \
			__bpfpack_each(__bpfpack_op_, ##__VA_ARGS__)) \
	{                                                             \
		return 0;                                             \
	}                                                             \
	struct __bpfpack_needs_a_semicolon
#define __bpfpack_lost(map) static __attribute__((unused)) __u64 __bpfpack_lost_##map

/* by(member) stands in place of the type. */
#define __bpfpack_probe_by(member) ~, by
#define __bpfpack_tag_by(member) BPFPACK_TAG("by=" #member)
#define __bpfpack_second(a, b, ...) b
#define __bpfpack_is(...) __bpfpack_second(__VA_ARGS__)
#define __bpfpack_output_type(map, type, ...) __bpfpack_decl("events", map, type, ##__VA_ARGS__)
#define __bpfpack_output_by(map, by, ...) \
	__bpfpack_decl_types(__bpfpack_glue(__bpfpack_types_, __COUNTER__), map, by, ##__VA_ARGS__)
#define __bpfpack_decl_types(types, map, by, ...)                     \
	union types {                                                 \
		__bpfpack_each(__bpfpack_om_, ##__VA_ARGS__)          \
	};                                                            \
	__attribute__((used)) __bpfpack_tag_##by                      \
	__bpfpack_decl("events", map, union types, ##__VA_ARGS__)
#define BPFPACK_OUTPUT(map, carried, ...)                                                   \
	__bpfpack_lost(map);                                                                \
	__bpfpack_glue(__bpfpack_output_, __bpfpack_is(__bpfpack_probe_##carried, type, ~)) \
	(map, carried, ##__VA_ARGS__)
#define BPFPACK_HISTOGRAM(map, ...)                                                       \
	__bpfpack_lost(map);                                                              \
	static __attribute__((unused)) const __typeof__(*map.value) __bpfpack_zero_##map; \
	__bpfpack_decl("histogram", map, void, ##__VA_ARGS__)
#define BPFPACK_TABLE(map, ...) \
	__bpfpack_lost(map);    \
	__bpfpack_decl("table", map, void, ##__VA_ARGS__)
#define BPFPACK_STACKS(map, ...) \
	__bpfpack_lost(map);     \
	__bpfpack_decl("stacks", map, void, ##__VA_ARGS__)

#define __bpfpack_pt_option(n) BPFPACK_TAG("option=" #n)
#define __bpfpack_pt_short(c) BPFPACK_TAG("short=" #c)
#define __bpfpack_pt_help(text) BPFPACK_TAG("help=" text)
#define __bpfpack_pt_unit(u) BPFPACK_TAG("unit=" #u)
#define __bpfpack_pt_role(r) BPFPACK_TAG("role=" #r)
#define __bpfpack_pt_choices(text) BPFPACK_TAG("choices=" text)
#define __bpfpack_pt_hidden BPFPACK_TAG("hidden")
#define BPFPACK_PARAM(...) __bpfpack_each(__bpfpack_pt_, ##__VA_ARGS__)

#define __bpfpack_ft_title(text) BPFPACK_TAG("title=" text)
#define __bpfpack_ft_format(f) BPFPACK_TAG("format=" #f)
#define __bpfpack_ft_unit(u) BPFPACK_TAG("unit=" #u)
#define __bpfpack_ft_clock(c) BPFPACK_TAG("clock=" #c)
#define __bpfpack_ft_order(o) BPFPACK_TAG("order=" #o)
#define __bpfpack_ft_labels(text) BPFPACK_TAG("labels=" text)
#define __bpfpack_ft_hidden BPFPACK_TAG("hidden")
#define BPFPACK_FIELD(...) __bpfpack_each(__bpfpack_ft_, ##__VA_ARGS__)

#define __bpfpack_gt_optional BPFPACK_TAG("optional")
#define __bpfpack_gt_alternative(group) BPFPACK_TAG("alternative=" #group)
#define __bpfpack_gt_attach(target) BPFPACK_TAG("attach=" target)
#define __bpfpack_gt_option(n) BPFPACK_TAG("option=" #n)
#define BPFPACK_PROGRAM(...) __bpfpack_each(__bpfpack_gt_, ##__VA_ARGS__)

#define __bpfpack_kt_name(text) BPFPACK_TAG("name=" text)
#define __bpfpack_kt_version(text) BPFPACK_TAG("version=" text)
#define __bpfpack_kt_description(text) BPFPACK_TAG("description=" text)
#define __bpfpack_kt_license(text) BPFPACK_TAG("license=" text)
#define __bpfpack_kt_author(text) BPFPACK_TAG("author=" text)
#define __bpfpack_kt_homepage(text) BPFPACK_TAG("homepage=" text)
#define __bpfpack_kt_source(text) BPFPACK_TAG("source=" text)
#define BPFPACK_PACKAGE(...)                                                      \
	__attribute__((used)) __bpfpack_each(__bpfpack_kt_, ##__VA_ARGS__) static \
	int __bpfpack_glue(__bpfpack_package_, __COUNTER__)(void)                 \
	{                                                                         \
		return 0;                                                         \
	}                                                                         \
	struct __bpfpack_needs_a_semicolon

#define BPFPACK_ENUM(type)                                                             \
	static __attribute__((used)) int __bpfpack_glue(__bpfpack_enum_, __COUNTER__)( \
		__attribute__((unused)) const type *__bpfpack_of)                      \
	{                                                                              \
		return 0;                                                              \
	}                                                                              \
	struct __bpfpack_needs_a_semicolon

#define __bpfpack_lose(map) __sync_fetch_and_add(&__bpfpack_lost_##map, 1)

#define bpfpack_reserve(map, size)                                   \
	({                                                           \
		void *__record = bpf_ringbuf_reserve(&map, size, 0); \
		if (!__record)                                       \
			__bpfpack_lose(map);                         \
		__record;                                            \
	})
#define bpfpack_submit(record) bpf_ringbuf_submit(record, 0)
#define bpfpack_discard(record) bpf_ringbuf_discard(record, 0)

/* A map's type is the length of the array that its member `type` points to. */
#define __bpfpack_is_ring(map) (sizeof(*(map).type) / sizeof(int) == BPF_MAP_TYPE_RINGBUF)
#define bpfpack_output(ctx, map, data, size)                                                     \
	({                                                                                       \
		long __error =                                                                   \
			__bpfpack_is_ring(map) ?                                                 \
				bpf_ringbuf_output(&map, data, size, 0) :                        \
				bpf_perf_event_output(ctx, &map, BPF_F_CURRENT_CPU, data, size); \
		if (__error)                                                                     \
			__bpfpack_lose(map);                                                     \
		__error;                                                                         \
	})

#define bpfpack_update(map, k, v)                                                  \
	({                                                                         \
		const __typeof__(*map.key) *__key = (k);                           \
		const __typeof__(*map.value) *__value = (v);                       \
		long __error = bpf_map_update_elem(&map, __key, __value, BPF_ANY); \
		if (__error)                                                       \
			__bpfpack_lose(map);                                       \
		__error;                                                           \
	})

/* Two processors may add one key at a time: whoever comes second (-EEXIST) finds it. */
#define bpfpack_lookup_or_init(map, k, init)                                        \
	({                                                                          \
		const __typeof__(*map.key) *__key = (k);                            \
		const __typeof__(*map.value) *__init = (init);                      \
		__typeof__(*map.value) *__found = bpf_map_lookup_elem(&map, __key); \
		if (!__found) {                                                     \
			bpf_map_update_elem(&map, __key, __init, BPF_NOEXIST);      \
			__found = bpf_map_lookup_elem(&map, __key);                 \
			if (!__found)                                               \
				__bpfpack_lose(map);                                \
		}                                                                   \
		__found;                                                            \
	})

/* A ready-made value for BPFPACK_HISTOGRAM; any struct with an array `slots` will do. */
struct bpfpack_slots {
	__u64 slots[64];
};

/*
 * The slot of a value: log2 slot 0 holds 0 and 1, slot i holds 2^i to 2^(i+1)-1;
 * linear slot i holds i*step to (i+1)*step-1.  The last slot also holds what is beyond.
 * Exponential slots up to 2n-1 hold one value each; each power of two from there on has n.
 */
static __inline __attribute__((always_inline, unused)) __u32 bpfpack_log2(__u64 value)
{
	__u32 slot = 0;

	if (value >> 32) {
		value >>= 32;
		slot += 32;
	}
	if (value >> 16) {
		value >>= 16;
		slot += 16;
	}
	if (value >> 8) {
		value >>= 8;
		slot += 8;
	}
	if (value >> 4) {
		value >>= 4;
		slot += 4;
	}
	if (value >> 2) {
		value >>= 2;
		slot += 2;
	}
	return slot + (value >> 1);
}

static __inline __attribute__((always_inline, unused)) __u64 bpfpack_exponential(__u64 value,
										__u32 n)
{
	__u32 shift;

	if (value < n)
		return value;
	shift = bpfpack_log2(value) - bpfpack_log2(n);
	return (__u64)shift * n + (value >> shift);
}

/* The barrier keeps the bound where the verifier, which knows less than the compiler, needs it. */
#define bpfpack_count_slot(map, key, number)                                          \
	({                                                                            \
		__typeof__(*map.value) *__hist =                                      \
			bpfpack_lookup_or_init(map, key, &__bpfpack_zero_##map);      \
		if (__hist) {                                                         \
			const __u64 __last =                                          \
				sizeof(__hist->slots) / sizeof(__hist->slots[0]) - 1; \
			__u64 __slot = (number);                                      \
			__asm__ volatile("" : "+r"(__slot));                          \
			if (__slot > __last)                                          \
				__slot = __last;                                      \
			__sync_fetch_and_add(&__hist->slots[__slot], 1);              \
		}                                                                     \
	})
#define bpfpack_count_log2(map, key, value) bpfpack_count_slot(map, key, bpfpack_log2(value))
#define bpfpack_count_linear(map, key, value, step) \
	bpfpack_count_slot(map, key, (__u64)(value) / (step))
#define bpfpack_count_exponential(map, key, value, n) 	bpfpack_count_slot(map, key, bpfpack_exponential(value, n))

#endif /* BPFPACK_H */
