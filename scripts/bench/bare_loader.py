"""The floor: a plain ctypes script that loads and attaches an object with libbpf."""

import ctypes
import sys
import time

P = ctypes.c_void_p
bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
bpf.bpf_object__open_file.restype = bpf.bpf_object__next_program.restype = P
bpf.bpf_program__attach.restype = bpf.bpf_object__find_map_by_name.restype = P
bpf.ring_buffer__new.restype = P
bpf.bpf_object__open_file.argtypes = [ctypes.c_char_p, P]
bpf.bpf_object__load.argtypes = bpf.bpf_program__attach.argtypes = [P]
bpf.bpf_object__next_program.argtypes = [P, P]
bpf.bpf_object__find_map_by_name.argtypes = [P, ctypes.c_char_p]
bpf.bpf_map__fd.argtypes = [P]
SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, P, P, ctypes.c_size_t)
bpf.ring_buffer__new.argtypes = [ctypes.c_int, SAMPLE, P, P]

opened = bpf.bpf_object__open_file(sys.argv[1].encode(), None)
if not opened or bpf.bpf_object__load(opened):
    sys.exit("cannot load")
sample = SAMPLE(lambda context, data, size: 0)
ring = bpf.ring_buffer__new(
    bpf.bpf_map__fd(bpf.bpf_object__find_map_by_name(opened, b"events")), sample, None, None
)
program = bpf.bpf_object__next_program(opened, None)
attached = 0
while program:
    if not bpf.bpf_program__attach(program):
        sys.exit("cannot attach")
    attached += 1
    program = bpf.bpf_object__next_program(opened, program)
print(f"attached {attached} programs", file=sys.stderr, flush=True)
time.sleep(60)
