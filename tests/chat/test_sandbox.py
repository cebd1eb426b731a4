"""What a template of a model file may do: what public ones do, and no more work than that."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import Any

import pytest

from llm_core.chat import metered
from llm_core.chat.sandbox import SandboxedTemplate
from llm_core.chat.template import ChatTemplate
from llm_core.engine.llama.model import Model
from llm_core.errors import InvalidRequest, ModelError
from llm_core.messages import Message


def rendered(source: str, **variables: Any) -> str:
    return SandboxedTemplate(source).render({"messages": [{"role": "user", "content": "Hi"}], **variables})


class TestFeatures:
    """Each is used by a template of llama.cpp's collection."""

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("{% set l = ['a'] %}{% set _ = l.append('b') %}{{ l.pop(0) }}{{ l }}", "a['b']"),
            ("{% set ns = namespace(ids=[]) %}{% set _ = ns.ids.append(1) %}{{ ns.ids }}", "[1]"),
            ("{% set d = dict(a=1) %}{% set _ = d.update({'b': 2}) %}{{ d }}", "{'a': 1, 'b': 2}"),
            ("{{ tools | map(attribute='name') | tojson }}", '["f", "g"]'),
            ("{{ tools | tojson(indent=2) }}", json.dumps([{"name": "f"}, {"name": "g"}], indent=2)),
            ("{{ tools | selectattr('name', 'equalto', 'g') | list | length }}{{ tools | map('string') | join }}",
             "1{'name': 'f'}{'name': 'g'}"),
            ("{% for t in tools | rejectattr('name', 'in', ['f']) %}{{ loop.length }}{{ t.name }}{{ loop.last }}"
             "{% endfor %}", "1gTrue"),
            ("{{ '{{{}: {:>3}}}'.format('a', 20240101 % 100) }}{{ '%03d 20240101' | format(7) }}{{ '%s' % 'x' }}",
             "{a:   1}007 20240101x"),
            ("{{ 'a\nb' | indent(2) }}{{ 'ab'[::-1] }}{{ ('=' * 3) ~ 1 }}{{ 2 ** 3 }}", "a\n  bba===18"),
            ("{% macro m(x) %}<{{ x }}{{ caller() if caller }}>{% endmacro %}{{ m(1) }}{% call m(2) %}!{% endcall %}",
             "<1><2!>"),
            ("{{ 'a' + tools[0].description + 'b' }}{{ tools[0].description + 'c' }}", "abc"),
            ("{% for x in [[1, [2]], [3]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "123"),
            ("{% for x in none or [] %}{% else %}none{% endfor %}{{ nothing | map('upper') | list }}", "none[]"),
            ("{{ 'a' in {'a': 1} and 'a' not in ['b'] and 1 < 2 <= 3 and tools[0] == tools[0] }}", "True"),
        ],
    )  # fmt: skip
    def test_it_works(self, source: str, expected: str) -> None:
        assert rendered(source, tools=[{"name": "f"}, {"name": "g"}]) == expected

    def test_today_is_known_in_all_ways_that_are_asked_for(self, vocabulary: Model) -> None:
        source = "{{ date_string }}|{{ strftime_now('%d %b %Y') }}|{{ datetime }}|{{ functions + '' }}"
        before = datetime.now()
        tokens = ChatTemplate(source, vocabulary).render([Message(role="user", content="Hi")]).tokens
        said = b"".join(vocabulary.token_bytes(token) for token in tokens).decode()

        assert said in {f"{day:%d %b %Y}|{day:%d %b %Y}|{day:%b %d %Y}|" for day in (before, datetime.now())}


GROWN = "{% set n = namespace(x=START, y=START) %}{% for i in range(TIMES) %}{% set n.x = STEP %}{% endfor %}END"


def grown(start: str, step: str, end: str = "", times: int = 24) -> str:
    """Something that grows at each turn; 24 doublings are 16 million."""
    source = GROWN.replace("START", start).replace("STEP", step).replace("TIMES", str(times))
    return source.replace("END", end)


def tangled(end: str, start: str = "[1]", step: str = "[n.x, n.x]") -> str:
    """A list of lists that all hold the same: 24 of them, and 16 million to whoever goes through them."""
    return grown(start, f"{step} %}}{{% set n.y = {step.replace('x', 'y')}", end)


BOMBS = {
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "loops over lists": "{% set l = range(2000) | list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for a in range(9999) %}{% for b in range(9999) if false %}{% endfor %}{% endfor %}",
    "loops in filters": "{% for a in range(9999) %}{% set x = range(9999) | select('none') | list %}{% endfor %}",
    "filters over lists": "{% set l = range(50000) | list %}"
    "{% for a in 'abcd' %}{{ l | select('none') | list }}{% endfor %}",
    "sums": "{% for a in range(9999) %}{% set x = range(9999) | sum %}{% endfor %}",
    "lists": "{% for a in range(9999) %}{% set x = range(9999) | list %}{% endfor %}",
    "a loop over what it makes": "{% set l = [1] %}{% for x in l %}{% set _ = l.append(1) %}{% endfor %}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(22) }}",
    "a macro for ever": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "~": grown("'x'", "n.x ~ n.x"),
    "+": grown("'x'", "n.x + n.x"),
    "+ of lists": grown("[1]", "n.x + n.x"),
    "extend": grown("[1]", "n.x + [] %}{% set _ = n.x.extend(n.x)"),
    "set": "{% set x = 'x' %}{% for i in range(24) %}{% set n %}{{ x }}{% endset %}{% endfor %}"
    + grown("'x'", "n.x %}{% set t %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = t"),
    "* of a text": "{{ ('x' * 20000000) | length }}",
    "* of a list": "{{ (20000000 * [1]) | length }}",
    "* of numbers": grown("3", "n.x * n.x", "{{ n.x > 0 }}"),
    "**": "{{ 9 ** (9 ** 6) > 0 }}",
    "replace": "{{ ('x' * 9999).replace('x', 'y' * 9999) | length }}",
    "replace as filter": "{{ ('x' * 9999) | replace('x', 'y' * 9999) | length }}",
    "join": "{{ ('x' * 9999).join('y' * 9999) | length }}",
    "join as filter": "{{ ('y' * 9999) | join('x' * 9999) | length }}",
    "join of what is mapped": "{{ (['y' * 9999] * 9999) | map('string') | join | length }}",
    "mapped join": "{{ ['y' * 9999] | map('join', 'x' * 9999) | list | length }}",
    "center": "{{ 'x' | center(20000000) | length }}",
    "ljust": "{{ 'x'.ljust(20000000) | length }}",
    "zfill": "{{ 'x'.zfill(20000000) | length }}",
    "expandtabs": "{{ ('\\t' * 9999).expandtabs(9999) | length }}",
    "indent": "{{ ('\\n' * 9999) | indent(9999) | length }}",
    "indent with a text": "{{ ('\\nx' * 9999) | indent('y' * 9999) | length }}",
    "tojson": "{{ range(2000) | list | tojson(indent=9999) | length }}",
    "batch": "{{ [1] | batch(20000000, 0) | list | length }}",
    "slice": "{{ [1] | slice(20000000) | list | length }}",
    "translate": "{{ ('x' * 9999).translate({120: 'y' * 9999}) | length }}",
    "sum of lists": "{{ ([[1]] * 19999) | sum(start=[]) | length }}",
    "% with a width": "{{ ('%20000000d' % 1) | length }}",
    "% with a width as value": "{{ ('%*d' % (20000000, 1)) | length }}",
    "% filter": "{{ '%20000000d' | format(1) | length }}",
    "format with a width": "{{ '{:>20000000}'.format(1) | length }}",
    "format with a width as value": "{{ '{:>{}}'.format(1, 20000000) | length }}",
    "format of a map": "{{ '{a:>20000000}'.format_map({'a': 1}) | length }}",
    "format many times": "{{ ('{0}' * 9999).format('x' * 9999) | length }}",
    "title": "{{ ('a ' * 500000) | title | length }}",
    "texts searched": "{% set s = 'x' * 2000000 %}{% for i in range(9999) %}{% set y = 'xy' in s %}{% endfor %}",
    "texts searched by a method": "{% set s = 'x' * 2000000 %}{% for i in range(9999) %}{{ s.find('y') }}{% endfor %}",
    "texts cut": "{% set s = 'x' * 2000000 %}{% for i in range(9999) %}{% set y = s[1:] %}{% endfor %}",
    "texts kept": "{% set l = [] %}{% for i in range(99) %}{% set _ = l.append('x' * 1000000 ~ i) %}{% endfor %}",
    "a tangle written": tangled("{{ n.x }}"),
    "a tangle in a text": tangled("{{ (n.x ~ '') | length }}"),
    "a tangle as string": tangled("{{ n.x | string | length }}"),
    "a tangle as JSON": tangled("{{ n.x | tojson | length }}"),
    "a tangle joined": tangled("{{ n.x | join | length }}"),
    "a tangle in format": tangled("{{ '{}'.format(n.x) | length }}"),
    "a tangle in %": tangled("{{ ('%s' % (n.x,)) | length }}"),
    "a tangle in format as filter": tangled("{{ '%s' | format(n.x) | length }}"),
    "tangles compared": tangled("{{ n.x == n.y }}"),
    "tangles tested": tangled("{{ n.x is eq(n.y) }}"),
    "tangles searched": tangled("{{ n.x in [n.y] }}"),
    "tangles counted": tangled("{{ [n.x].count(n.y) }}"),
    "tangles sorted": tangled("{{ [n.x, n.y] | sort | length }}"),
    "a tangle as key": tangled("{{ {n.x: 1} | length }}", "(1,)", "(n.x, n.x)"),
    "a tangle looked up": tangled("{{ {}[n.x] }}", "(1,)", "(n.x, n.x)"),
    "a tangle got": tangled("{{ {}.get(n.x) }}", "(1,)", "(n.x, n.x)"),
    "a tangle among others": tangled("{{ [n.x, n.y] | unique | list | length }}", "(1,)", "(n.x, n.x)"),
}


class TestWork:
    """Nothing here leans on time: as it is, the limit is met in two seconds, so these have a twentieth of it."""

    @pytest.fixture(autouse=True)
    def a_small_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metered, "WORK", 100_000)

    @pytest.mark.parametrize("name", BOMBS)
    def test_a_template_that_works_without_end_is_stopped(self, name: str) -> None:
        with pytest.raises((ModelError, InvalidRequest), match=r"more work than|maximum recursion depth"):
            rendered(BOMBS[name])

    def test_what_may_be_done_in_one_rendering_may_be_done_in_the_next(self) -> None:
        template = SandboxedTemplate("{% for i in range(60000) %}{% endfor %}done")

        assert [template.render({}) for _ in range(3)] == ["done"] * 3

    def test_each_thread_has_work_of_its_own(self) -> None:
        half = "{% for i in range(40000) %}{% endfor %}"
        template = SandboxedTemplate(f"{half}{{{{ wait() }}}}{half}done")
        meeting, said = threading.Barrier(2, timeout=60), []

        def render() -> None:
            said.append(template.render({"wait": lambda: meeting.wait() and ""}))

        threads = [threading.Thread(target=render) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(said) == 2

    @pytest.mark.parametrize("source", ["{{ x }}", "{{ x ~ '' }}", "{{ x | string }}", "{{ x | join }}"])
    def test_what_would_be_too_long_is_not_written_at_all(self, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
        class Unwritten(list[int]):
            def __str__(self) -> str:
                raise AssertionError("it was written")

        monkeypatch.setattr(metered, "MAX_WORK", 100_000)
        with pytest.raises(ModelError, match="more work"):
            rendered(source, x=Unwritten(range(110_000)))

    def test_no_text_is_longer_than_any_prompt_could_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metered, "_MAX_CHARS", 1_000)
        with pytest.raises(ModelError, match="more work"):
            rendered("{{ 'x' * 1001 }}")

        assert rendered("{{ 'x' * 1000 }}") == "x" * 1_000

    def test_a_long_conversation_may_be_gone_through_again_at_each_message(self) -> None:
        source = "{% for m in messages %}{% for o in messages %}{% endfor %}{{ m.content }}{% endfor %}"
        messages = [{"role": "user", "content": "x"}] * 1_000

        assert rendered(source, messages=messages) == "x" * 1_000
        with pytest.raises(ModelError, match="more work"):
            rendered(source.replace("in messages", "in range(1000)"))

    def test_a_model_whose_template_does_not_end_is_not_loaded(self, vocabulary: Model) -> None:
        with pytest.raises(ModelError, match="chat template does more work"):
            ChatTemplate(BOMBS["loops"], vocabulary)

    def test_the_next_conversation_is_served(self, vocabulary: Model) -> None:
        source = "{{ messages[0].content }}{% if messages[0].content == 'go' %}" + BOMBS["loops"] + "{% endif %}"
        template = ChatTemplate(source, vocabulary)
        with pytest.raises(ModelError, match="more work"):
            template.render([Message(role="user", content="go")])

        assert template.render([Message(role="user", content="Hi")]).tokens
