"""Compile and run one Triton kernel on the GPU: `python -m em_tiers.inference.triton_probe`."""

import torch
import triton
import triton.language as tl

SIZE = 1000


@triton.jit
def add(a, b, out, size, block: tl.constexpr):
    """Add two vectors."""
    index = tl.program_id(0) * block + tl.arange(0, block)
    inside = index < size
    total = tl.load(a + index, mask=inside) + tl.load(b + index, mask=inside)
    tl.store(out + index, total, mask=inside)


def main() -> None:
    """Exit with status 1 if the sum is wrong."""
    a, b = (torch.rand(SIZE, device="cuda") for _ in range(2))
    out = torch.empty_like(a)
    add[(triton.cdiv(SIZE, 256),)](a, b, out, SIZE, block=256)
    if not torch.equal(out, a + b):
        raise SystemExit("the kernel's sum is wrong")
    print(f"triton {triton.__version__}")


if __name__ == "__main__":
    main()
