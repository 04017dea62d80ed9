"""The policy of Snakemake's report page."""

import pytest

from em_tiers.errors import UserError
from em_tiers.report.page_policy import secure_page

PAGE = """<html><head>
<meta charset="utf-8">
</head><body><script>\r\nrun();\r\n</script>
<script id="results">
var results = {"a": "</script><img src=x onerror=alert(1)>", "b": [1]};
</script></body></html>"""


def test_data_cannot_end_its_script_and_each_script_is_named():
    page = secure_page(PAGE)
    assert page.count("</script>") == 2
    assert '"\\u003c/script>\\u003cimg src=x onerror=alert(1)>", "b": [1]};' in page
    # printf '\nrun();\n' | openssl dgst -sha256 -binary | base64
    assert "'sha256-8Nic6TNoKbU2fN/Yduzc28MgjFgcikm6fSU0x0dR3EU='" in page
    assert page.count("'sha256-") == 2


@pytest.mark.parametrize("page", [PAGE.replace("charset", "x"), PAGE.replace("var", "let")])
def test_an_unknown_page_is_refused(page):
    with pytest.raises(UserError, match="report: Snakemake's page has"):
        secure_page(page)
