import os
import signal
import threading

import pytest

from lt_fast.training.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_stops_nothing(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.requested is None
        os.kill(os.getpid(), number)
        assert interruption.requested == number.name
    assert signal.getsignal(number) is before


def test_the_first_signal_names_it_and_the_third_stops_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interruption.requested == "SIGTERM"


def test_disabled_it_leaves_signals_alone():
    with pytest.raises(KeyboardInterrupt), Interruption(enabled=False):
        signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_it_does_nothing():
    seen = []

    def enter():
        before = signal.getsignal(signal.SIGTERM)
        with Interruption() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(None, True)]


def test_a_forked_process_dies_of_the_signal_as_ever():
    with Interruption() as interruption:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(7)  # reached only if the signal was swallowed
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        assert interruption.requested is None
