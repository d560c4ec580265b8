"""What mkdocs does to each page of the site."""

import re

#: Inline code of at most so many characters stays in one line, flags such as
#: `--out=folder` above all, which would be broken after their hyphens.
SHORT = 32
_CODE = re.compile(rf"(<pre.*?</pre>)|<code>([^<]{{1,{SHORT}}})</code>", re.DOTALL)


def on_page_content(html, **_):
    """Marks short inline code."""
    return _CODE.sub(lambda m: m[1] or f'<code class="short">{m[2]}</code>', html)
