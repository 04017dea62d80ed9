"""CPUs that can run the models, and those that cannot."""

import subprocess
import sys
from pathlib import Path

import pytest

from check_cpu import find_problem

CHECK = Path(__file__).parents[2] / "scripts" / "check_cpu.py"

XEON = """\
processor	: 0
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush dts \
acpi mmx fxsr sse sse2 ss ht tm pbe syscall nx pdpe1gb rdtscp lm constant_tsc art \
arch_perfmon pebs bts rep_good nopl xtopology nonstop_tsc cpuid aperfmperf pni pclmulqdq \
dtes64 monitor ds_cpl vmx smx est tm2 ssse3 sdbg fma cx16 xtpr pdcm pcid dca sse4_1 sse4_2 \
x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand lahf_lm abm 3dnowprefetch \
cpuid_fault epb cat_l3 cdp_l3 fsgsbase tsc_adjust bmi1 hle avx2 smep bmi2 erms invpcid rtm \
cqm mpx rdt_a avx512f avx512dq rdseed adx smap clflushopt clwb intel_pt avx512cd avx512bw \
avx512vl xsaveopt xsavec xgetbv1 xsaves
bugs		: cpu_meltdown spectre_v1 spectre_v2
"""
ZEN_3 = """\
processor	: 0
vendor_id	: AuthenticAMD
model name	: AMD EPYC
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx \
fxsr sse sse2 ht syscall nx mmxext fxsr_opt pdpe1gb rdtscp lm constant_tsc rep_good nopl \
xtopology nonstop_tsc cpuid extd_apicid tsc_known_freq pni pclmulqdq ssse3 fma cx16 pcid \
sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand hypervisor \
lahf_lm cmp_legacy cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw topoext ssbd ibrs \
ibpb stibp vmmcall fsgsbase tsc_adjust bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap \
clflushopt clwb sha_ni xsaveopt xsavec xgetbv1 xsaves clzero xsaveerptr wbnoinvd arat umip \
pku ospke vaes vpclmulqdq rdpid fsrm
"""
SANDY_BRIDGE = """\
processor	: 0
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush dts \
acpi mmx fxsr sse sse2 ss ht tm pbe syscall nx pdpe1gb rdtscp lm constant_tsc arch_perfmon \
pebs bts rep_good nopl xtopology nonstop_tsc aperfmperf pni pclmulqdq dtes64 monitor ds_cpl \
vmx smx est tm2 ssse3 cx16 xtpr pdcm pcid dca sse4_1 sse4_2 x2apic popcnt tsc_deadline_timer \
aes xsave avx lahf_lm epb tpr_shadow vnmi flexpriority ept vpid xsaveopt dtherm ida arat pln \
pts
"""
ARM = """\
processor	: 0
BogoMIPS	: 243.75
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc
CPU implementer	: 0x41
"""


@pytest.mark.parametrize("cpuinfo", [XEON, ZEN_3, ""], ids=["AVX-512", "AVX2", "hidden"])
def test_a_cpu_that_can_run_it(cpuinfo):
    assert find_problem("x86_64", "Linux", cpuinfo) is None


@pytest.mark.parametrize(
    ("machine", "system", "cpuinfo", "problem", "remedy"),
    [
        ("x86_64", "Linux", SANDY_BRIDGE, "E5-2670 0 @ 2.60GHz) has no AVX2", "make setup-login"),
        ("aarch64", "Linux", ARM, "this CPU (aarch64) is not x86-64", "make setup-login"),
        ("arm64", "Darwin", "", "this system (Darwin) is not Linux", "use an x86-64 Linux machine"),
    ],
)
def test_a_cpu_that_cannot(machine, system, cpuinfo, problem, remedy):
    message = find_problem(machine, system, cpuinfo)
    assert problem in message
    assert remedy in message
    assert "\n" not in message


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo as Linux writes it")
def test_the_check_ends_with_one_line(tmp_path):
    (tmp_path / "cpuinfo").write_text(SANDY_BRIDGE)
    command = [sys.executable, CHECK, "--cpuinfo", tmp_path / "cpuinfo"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("set-up: this CPU (")
    assert done.stderr.count("\n") == 1
