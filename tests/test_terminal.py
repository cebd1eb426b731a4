"""The chat in the terminal: its rules on a scripted model, then the whole on the real one behind a pseudo-terminal."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.attachments.reading import read_file
from llm_core.errors import ContextOverflow
from llm_core.events import ChatEvent, ContentDelta, Done, FinishReason, Queued, ReasoningDelta, Timings, Usage
from llm_core.messages import Message
from llm_core.terminal import Screen, TerminalChat, answer_once, figures, printable
from tests.environment import environment_without

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Interrupt:
    """Stands in a script for a Ctrl-C at that moment."""


Script = list[str | ReasoningDelta | Interrupt | Exception]


class ScriptedModel:
    """Answers with what the test wrote, and remembers what it was asked."""

    def __init__(self, *replies: Script, ending: FinishReason = "stop", dropped: int = 0) -> None:
        self._replies = list(replies)
        self._done = Done(ending, Usage(30, 20, 5), Timings(ttft_ms=120.0, tokens_per_second=45.0), dropped)
        self.asked: list[list[tuple[str, str]]] = []
        self.files: list[list[str]] = []
        self.options: dict[str, Any] = {}
        self.closed = 0

    def stream(self, messages: list[Message], **options: Any) -> Generator[ChatEvent]:
        self.asked.append([(message.role, message.content) for message in messages])
        self.files = [[file.name for file in message.attachments or ()] for message in messages]
        self.options = options
        return self._events(self._replies.pop(0))

    def _events(self, script: Script) -> Generator[ChatEvent]:
        try:
            yield Queued(0)
            for step in script:
                match step:
                    case Interrupt():
                        os.kill(os.getpid(), signal.SIGINT)
                    case Exception():
                        raise step
                    case ReasoningDelta():
                        yield step
                    case text:
                        yield ContentDelta(text)
            yield self._done
        finally:
            self.closed += 1


def talk(
    model: ScriptedModel, *typed: str | type[BaseException], out: io.StringIO | None = None, system: str = ""
) -> str:
    """A conversation in which `typed` comes from the keyboard; returns all that was shown."""
    keys: Iterator[str | type[BaseException]] = iter(typed)

    def read(_prompt: str) -> str:
        key = next(keys, EOFError)
        if isinstance(key, str):
            return key
        raise key

    shown = out if out is not None else FakeTerminal()
    TerminalChat(model.stream, {"seed": 1}, Screen(shown, shown), system=system, read_file=read_file).run(read)
    return shown.getvalue()


class TestConversation:
    def test_each_request_has_all_that_was_said(self) -> None:
        model = ScriptedModel(["Hel", "lo."], ["Bye."])

        shown = talk(model, "Hi", "Go", system="Be brief.")

        assert model.asked == [
            [("system", "Be brief."), ("user", "Hi")],
            [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Go")],
        ]
        assert model.options == {"seed": 1}
        assert "Hello.\n" in shown

    def test_empty_lines_and_ctrl_c_at_the_prompt_ask_nothing(self) -> None:
        model = ScriptedModel(["Yes."])

        talk(model, "", "   ", KeyboardInterrupt, "Hi")

        assert len(model.asked) == 1

    @pytest.mark.parametrize("way_out", ["/exit", "/quit", EOFError])
    def test_there_are_ways_to_leave(self, way_out: str | type[BaseException]) -> None:
        model = ScriptedModel()

        talk(model, way_out, "never asked")

        assert not model.asked

    def test_retry_asks_the_same_again_without_the_reply(self) -> None:
        model = ScriptedModel(["One."], ["Two."], ["Three."])

        talk(model, "Hi", "/retry", "More")

        assert model.asked[1] == model.asked[0]
        assert model.asked[2] == [("user", "Hi"), ("assistant", "Two."), ("user", "More")]

    def test_undo_takes_the_last_exchange_back(self) -> None:
        model = ScriptedModel(["One."], ["Two."], ["Three."])

        shown = talk(model, "First", "Second", "/undo", "Third")

        assert model.asked[2] == [("user", "First"), ("assistant", "One."), ("user", "Third")]
        assert "Taken back: Second" in shown

    def test_a_file_goes_with_the_next_message_and_stays_with_it(self, tmp_path: Path) -> None:
        (tmp_path / "my notes.txt").write_text("The code word is heron.")
        model = ScriptedModel(["One."], ["Two."], ["Three."])

        shown = talk(model, f"/attach {tmp_path}/my notes.txt", "/attach", "Hi", "/retry", "More")

        assert shown.count("With your next message: my notes.txt (23 characters)") == 2
        assert model.asked[2] == [("user", "Hi"), ("assistant", "Two."), ("user", "More")]
        assert model.files == [["my notes.txt"], [], []]

    @pytest.mark.parametrize("lost", ["/undo", ContextOverflow("Too long.")])
    def test_the_files_of_a_message_that_is_taken_back_go_with_the_next(self, tmp_path: Path, lost: Any) -> None:
        (tmp_path / "a.txt").write_text("A")
        is_undone = lost == "/undo"
        model = ScriptedModel(["One."] if is_undone else [lost], ["Two."])

        talk(model, f"/attach '{tmp_path}/a.txt'", "Hi", *["/undo"] * is_undone, "Hi again")

        assert (model.asked[1], model.files) == ([("user", "Hi again")], [["a.txt"]])

    def test_files_that_wait_are_not_joined_by_those_of_a_message_that_is_taken_back(self, tmp_path: Path) -> None:
        for name in ("a.txt", "b.txt"):
            (tmp_path / name).write_text(name)
        model = ScriptedModel(["One."], ["Two."], ["Three."])

        talk(model, f"/attach {tmp_path}/a.txt", "Hi", f"/attach {tmp_path}/b.txt", "/undo", "Hi", "/detach", "More")

        assert model.files == [["b.txt"], [], []]

    def test_a_name_that_is_no_text_is_told_as_one(self, tmp_path: Path) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")
        Path(path).write_text("A")

        assert "With your next message: \ufffd.txt (1 characters)" in talk(ScriptedModel(), f"/attach {path}")

    def test_a_file_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "much.txt").write_text("a" * 200_000)
        much = [f"/attach {tmp_path}/much.txt"] * 3

        shown = talk(ScriptedModel(), "/attach", f"/attach {tmp_path}/none.txt", f"/attach {tmp_path}", *much)

        assert "No file goes with your next message." in shown
        assert "none.txt” cannot be read: No such file or directory." in shown
        assert "cannot be read: Is a directory." in shown
        assert "\ufffd” cannot be read" in talk(ScriptedModel(), "/attach \ud800")
        assert "~no-such-user/x” cannot be read" in talk(ScriptedModel(), "/attach ~no-such-user/x")
        assert "too much: the files of a message have 400,000 characters at most." in shown

    def test_clear_begins_anew(self) -> None:
        model = ScriptedModel(["One."], ["Two."])

        talk(model, "First", "/clear", "Second")

        assert model.asked[1] == [("user", "Second")]

    @pytest.mark.parametrize("command", ["/retry", "/undo"])
    def test_at_the_beginning_there_is_nothing_to_take_back(self, command: str) -> None:
        assert "There is nothing to" in talk(ScriptedModel(), command)

    def test_an_unknown_command_is_said_to_be_one(self) -> None:
        assert "There is no command /sing. /help lists them." in talk(ScriptedModel(), "/sing")
        assert "/undo" in talk(ScriptedModel(), "/help")

    @pytest.mark.parametrize("text", ["/etc/hosts: what is it?", "/etc/hosts", "/ is what?", "//", "/help me please"])
    def test_what_only_begins_like_a_command_is_asked(self, text: str) -> None:
        model = ScriptedModel(["A file."])

        talk(model, text)

        assert model.asked == [[("user", text)]]

    def test_bytes_that_are_no_text_are_refused_and_the_chat_goes_on(self) -> None:
        model = ScriptedModel(["Yes."])

        shown = talk(model, "caf\udce9", "Hi")

        assert "not UTF-8" in shown
        assert model.asked == [[("user", "Hi")]]


class TestStopping:
    def test_ctrl_c_stops_the_reply_and_keeps_what_came(self) -> None:
        model = ScriptedModel(["Once ", "upon", Interrupt(), " a time."], ["Yes."])

        shown = talk(model, "A story", "Go on")

        assert model.asked[1] == [("user", "A story"), ("assistant", "Once upon"), ("user", "Go on")]
        assert "(stopped)" in shown
        assert model.closed == 2

    def test_ctrl_c_before_the_first_word_takes_the_message_back(self) -> None:
        model = ScriptedModel([Interrupt()], ["Yes."])

        shown = talk(model, "Hi", "Again")

        assert model.asked[1] == [("user", "Again")]
        assert "your message is taken back" in shown

    def test_ctrl_c_is_what_it_was_afterwards(self) -> None:
        before = signal.getsignal(signal.SIGINT)

        talk(ScriptedModel(["a", Interrupt()], ["b"]), "Hi", "Ho")

        assert signal.getsignal(signal.SIGINT) is before

    def test_a_failure_is_told_and_the_chat_goes_on(self) -> None:
        model = ScriptedModel([ContextOverflow("The conversation is too long.")], ["Yes."])

        shown = talk(model, "x", "Hi")

        assert "The conversation is too long." in shown
        assert model.asked[1] == [("user", "Hi")]


class TestScreen:
    def test_the_figures_are_under_the_reply(self) -> None:
        line = "5 tokens · 45.0 tokens/s · first after 120 ms · 20 of 30 prompt tokens cached"

        assert f"Hello.\n\x1b[2m{line}\x1b[0m\n" in talk(ScriptedModel(["Hello."]), "Hi")

    def test_figures_that_there_are_not_are_left_out(self) -> None:
        assert figures(Done("stop", Usage(9, 0, 1), Timings())) == "1 tokens · 0 of 9 prompt tokens cached"

    def test_why_a_prompt_was_read_again_is_in_its_place(self) -> None:
        again = Done("stop", Usage(90, 9, 1, "trimmed"), Timings())
        assert figures(again) == "1 tokens · read 81 of 90 tokens: older turns were left out"

    def test_thinking_is_dim_and_apart_from_the_reply(self) -> None:
        shown = talk(ScriptedModel([ReasoningDelta("Hm."), "Yes."]), "Hi")

        assert "\x1b[2mHm.\x1b[0m\n\nYes.\n" in shown

    def test_thinking_is_given_back_to_the_model_as_thinking(self) -> None:
        model = ScriptedModel([ReasoningDelta("Hm."), "Yes."], ["No."])

        talk(model, "Hi", "Ho")

        assert model.asked[1][1] == ("assistant", "Yes.")

    @pytest.mark.parametrize(
        ("dropped", "said"), [(1, "The oldest message was left out"), (4, "The 4 oldest messages were left out")]
    )
    def test_what_did_not_fit_is_counted(self, dropped: int, said: str) -> None:
        assert said in talk(ScriptedModel(["Yes."], dropped=dropped), "Hi")

    @pytest.mark.parametrize(("ending", "said"), [("length", "limit of tokens"), ("timeout", "time is up")])
    def test_a_reply_that_was_cut_off_says_why(self, ending: FinishReason, said: str) -> None:
        assert said in talk(ScriptedModel(["Yes"], ending=ending), "Hi")

    def test_a_model_cannot_command_the_terminal(self) -> None:
        model = ScriptedModel(["\x1b]0;owned\x07\x1b", "[31mred\x9b2J\r\x08", "\tnext\nline"], ["Yes."])

        shown = talk(model, "Hi", "Ho")

        assert "]0;owned[31mred2J\tnext\nline\n" in shown
        assert "\x1b]" not in shown
        assert "\x1b[31m" not in shown

    def test_without_a_terminal_there_is_no_colour_and_the_text_is_as_it_was(self) -> None:
        out, notes = io.StringIO(), io.StringIO()

        answer_once(ScriptedModel(["a\x1b[1mb"]).stream, "Hi", {}, Screen(out, notes))

        assert out.getvalue() == "a\x1b[1mb\n"
        assert notes.getvalue() == ""

    @pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
    def test_colour_can_be_declined(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)

        assert "\x1b" not in talk(ScriptedModel([ReasoningDelta("Hm."), "Yes."]), "Hi")

    @given(st.text())
    def test_printable_text_has_no_control_characters_and_loses_nothing_else(self, text: str) -> None:
        cleaned = printable(text)

        assert all(character in "\t\n" or ord(character) not in (*range(32), *range(127, 160)) for character in cleaned)
        assert [c for c in cleaned if c.isprintable()] == [c for c in text if c.isprintable()]


Start = Callable[..., "pexpect.spawn[str]"]


@pytest.mark.slow
class TestOnTheRealModel:
    """`python -m llm_core chat` behind a pseudo-terminal."""

    @pytest.fixture
    def start(self) -> Iterator[Start]:
        started: list[pexpect.spawn[str]] = []

        def start(*arguments: str, **variables: str) -> pexpect.spawn[str]:
            kept = environment_without("LLM_")
            settings = {"TERM": "xterm", "LLM_PARALLEL": "1", "LLM_CONTEXT_TOKENS": "2048"} | variables
            chat = pexpect.spawn(
                sys.executable,
                ["-m", "llm_core", "chat", "--temperature", "0", *arguments],
                cwd=str(ROOT),
                env=kept | settings,
                encoding="utf-8",
                timeout=SECONDS,
                dimensions=(40, 200),
                # A shell without job control has what it runs in the background ignore Ctrl-C: not these.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
            started.append(chat)
            return chat

        yield start
        for chat in started:
            chat.close(force=True)

    def test_a_conversation(self, start: Start) -> None:
        chat = start("--max-tokens", "1500")
        chat.expect("SmolLM2-135M-Instruct · apache-2.0 · /help lists commands")
        chat.expect("> ")

        chat.sendline("What is the capital of France?")
        chat.expect("Paris")
        chat.expect(r"tokens/s · first after \d+ ms · \d+ of \d+ prompt tokens cached")
        chat.expect("> ")

        # The reply streams: it is on the screen while it is made, and Ctrl-C stops it there. The program goes on.
        chat.sendline("Write the numbers from 1 to 500, one on each line.")
        chat.expect("7")
        chat.sendintr()
        chat.expect(r"\(stopped\)")
        assert "tokens/s" not in chat.before
        chat.expect("> ")
        assert chat.isalive()

        # Ctrl-C at the prompt clears the line.
        chat.send("this is never sent")
        chat.expect("never sent")
        chat.sendintr()
        chat.expect("> ")

        # The conversation was kept, the part of a reply too: most of the next prompt is cached.
        chat.sendline("Say one word.")
        chat.expect(r"(\d+) of (\d+) prompt tokens cached")
        assert chat.match is not None
        cached, prompt = int(chat.match[1]), int(chat.match[2])
        assert cached > prompt / 2
        chat.expect("> ")

        chat.sendline("/undo")
        chat.expect("Taken back: Say one word.")
        chat.expect("> ")

        chat.sendeof()
        chat.expect(pexpect.EOF)
        chat.wait()
        assert chat.exitstatus == 0

    def test_a_conversation_longer_than_the_context_goes_on_and_says_what_is_left_out(self, start: Start) -> None:
        chat = start("--max-tokens", "20", LLM_CONTEXT_TOKENS="128")
        for _ in range(3):
            chat.expect("> ")
            chat.sendline("Tell me about rivers, mountains, forests, oceans and deserts, " * 3)
        chat.expect("left out: the conversation is longer than the context")
        chat.expect("> ")
        chat.sendline("/exit")
        chat.expect(pexpect.EOF)
        chat.wait()
        assert chat.exitstatus == 0

    def test_ctrl_c_ends_an_answer_that_was_asked_for_once(self, start: Start) -> None:
        chat = start("--max-tokens", "1500", "Write the numbers from 1 to 500, one on each line.")
        chat.expect("7")
        chat.sendintr()
        chat.expect(pexpect.EOF)
        chat.wait()

        assert chat.exitstatus == 130
        assert "Traceback" not in (chat.before or "")
