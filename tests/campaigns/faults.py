"""The faults that are known, what the daemon does about each, and the test that shows it.

Plain data; `FAULTS.md` is made of it (`python -m tests.campaigns faults`), and a test sees to it
that every test named here exists. Names in braces are the sizes of `test_campaigns`.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """One kind of fault. `tried` is how many of it one run of all tests meets."""

    id: str
    happens: str
    daemon_does: str
    test: str
    tried: str


HTTP = "tests/http/test_http_faults.py::test_every_fault_has_one_name"
HERE = "tests/campaigns/test_campaigns.py"
OUTAGES = "tests/daemon/test_daemon_outages.py"
LIFE = "tests/daemon/test_daemon_life.py"
STDERR = "tests/daemon/test_daemon_stderr.py"
PLACE = "tests/daemon/test_daemon_place.py"
ORDER = "tests/daemon/test_daemon_order.py"
POISON = "tests/daemon/test_daemon_poison.py::test_a_poisonous_event_among_others_dies_alone"
STORE = "tests/store"
SIMULATION = "tests/simulation/test_simulation.py::test_no_seed_violates_an_invariant"
WAYS = "3 (each client)"
CLOCKS = "tests/daemon/test_daemon_clock.py"
SCHEDULE = "tests/unit/test_schedule.py"
CONFIRMED = "tests/unit/test_confirmed.py"
WINDOWS = "tests/unit/test_windows.py"

NETWORK = (
    Fault("N01", "nobody listens", "no budget is touched; link offline, probed", f"{HTTP}[nobody listens]", WAYS),
    Fault("N02", "the name has no address", "the same; the event never left", f"{HTTP}[no such name]", WAYS),
    Fault("N03", "connecting hangs", "ends with the deadline of the whole try", f"{HTTP}[hung connect]", WAYS),
    Fault("N04", "the first address is dead", "the next one is tried within the same try", "tests/http/test_http_names.py::test_the_address_behind_a_dead_one_is_reached", "1"),
    Fault("N05", "the first address is silent", "the next one is tried while it waits", "tests/http/test_http_names.py::test_the_address_behind_a_silent_one_is_reached", "1"),
    Fault("N06", "the request is taken, no answer comes", "ends with the deadline; the event repeats itself first", f"{HTTP}[accept then hang]", WAYS),
    Fault("N07", "the answer's body drips, byte by byte", "the deadline is of the whole try and not of a read", f"{HTTP}[slow drip of the body]", WAYS),
    Fault("N08", "the answer's head drips", "the same", f"{HTTP}[slow drip of the head]", WAYS),
    Fault("N09", "interim answers without end", "the same", f"{HTTP}[flood of 1xx]", WAYS),
    Fault("N10", "closed before the request was read", "may have been received: repeated first of its key", f"{HTTP}[closed before reading]", WAYS),
    Fault("N11", "closed after the request was read", "the same", f"{HTTP}[closed after reading]", WAYS),
    Fault("N12", "RST in the middle of the answer", "the same", f"{HTTP}[reset in mid-answer]", WAYS),
    Fault("N13", "the answer is shorter than it says", "never taken for an answer", f"{HTTP}[truncated body]", WAYS),
    Fault("N14", "a chunk is cut off", "never taken for an answer", f"{HTTP}[truncated chunk]", WAYS),
    Fault("N15", "an idle connection was closed meanwhile", "not used; where it is found out too late, one try", "tests/http/test_http_answers.py::test_a_connection_that_was_closed_is_not_used", WAYS),
    Fault("N16", "connections reset by the network, in the request or the answer", "nothing lost, repeats at once", f"{HERE}::test_a_bad_network", "{STRIKES} connections x 2 databases, all kinds together"),
    Fault("N17", "half-open connections: nothing passes, nobody is told", "deadline, another connection, repeat at once", f"{HERE}::test_a_bad_network", "of those of N16"),
    Fault("N18", "delay and single bytes", "slower, nothing else", f"{HERE}::test_a_bad_network", "of those of N16"),
    Fault("N19", "the receiver is away for a while", "link offline, probed, ramps up; no budget touched", f"{OUTAGES}::test_an_outage_costs_nothing", "10"),
    Fault("N20", "the receiver is restarted", "found again by the probe", f"{OUTAGES}::test_a_stopped_and_restarted_api_is_found_again", "1"),
    Fault("N21", "certificate not trusted", "configuration: link paused at once, probed", f"{HTTP}[TLS untrusted]", WAYS),
    Fault("N22", "certificate expired (or the clock is wrong)", "the same; never an event's fault", f"{HTTP}[TLS expired]", WAYS),
    Fault("N23", "certificate of another name", "the same", f"{HTTP}[TLS for another name]", WAYS),
    Fault("N24", "TLS hello without an answer", "ends with the deadline", f"{HTTP}[TLS hello unanswered]", WAYS),
    Fault("N25", "a plain port where TLS is spoken", "link paused", f"{HTTP}[TLS to a plain port]", WAYS),
    Fault("N26", "the proxy wants a login, refuses, hangs up or talks garbage", "the proxy's fault by name; nothing has left", f"{HTTP}[proxy wants a login]", WAYS),
    Fault("N27", "a proxy in the environment", "ignored", "tests/http/test_http_wire.py::test_no_proxy_from_the_environment", WAYS),
    Fault("N28", "a name moves while its connection is in use", "followed within two minutes, between two requests", "tests/http/test_http_lifetimes.py::test_a_name_that_has_moved_is_followed", "2 (ours, stock)"),
    Fault("N29", "many connections are due to end at once", "none is cut off, and their ends are spread", "tests/http/test_http_lifetimes.py::test_many_connections_that_are_in_use_all_end", "1"),
    Fault("N30", "an authority without key identifiers, key usage or a critical mark", "trusted as curl does, on every Python", "tests/http/test_http_tls.py::test_what_curl_trusts_is_trusted", "11 x 3"),
    Fault("N31", "only the middle of a chain, or the receiver's own certificate is trusted", "the same", "tests/http/test_http_tls.py::test_every_python_trusts_the_same", "3"),
    Fault("N32", "a common name only, a weak key, an issuer that is none", "not trusted: link paused", "tests/http/test_http_tls.py::test_what_curl_refuses_is_refused", "9 x 3"),
    Fault("N33", "a name with a dot at its end", "compared without it", "tests/http/test_http_tls.py::test_a_name_is_compared_as_names_are", "2 x 2"),
    Fault("N34", "a CA file in DER, with CRLF, comments, a key or a byte order mark", "every certificate in it counts", "tests/http/test_http_tls.py::test_a_ca_file_adds_every_certificate_in_it", "10"),
    Fault("N35", "a CA file without a whole certificate", "refused, and what it should hold", "tests/http/test_http_tls.py::test_a_ca_file_without_a_certificate_is_refused", "7"),
    Fault("N36", "a name with several addresses, all dead", "each address is named", "tests/http/test_http_words.py::test_every_address_that_was_tried_is_named", "1"),
    Fault("N37", "tries that wait for others until their deadline", "told apart from a network that hangs", "tests/http/test_http_words.py::test_a_try_that_never_had_its_turn_says_so", "2"),
    Fault("N38", "the URL of a webhook fails", "nothing of the URL is shown, nor where it redirects to", "tests/http/test_http_words.py::test_a_hooks_url_is_no_part_of_its_fault", "2"),
)  # fmt: skip

ANSWERS = (
    Fault("A01", "garbage instead of HTTP", "transient; may have been received", f"{HTTP}[garbage]", WAYS),
    Fault("A02", "two lengths that differ", "garbage", f"{HTTP}[two content-lengths]", WAYS),
    Fault("A03", "a header of 1 MB, or 10,000 of them", "garbage, at a bound", f"{HTTP}[header of 1 MB]", WAYS),
    Fault("A04", "a body without end", "64 KiB are read, then the connection is closed", f"{HTTP}[endless body]", WAYS),
    Fault("A05", "a packed body (gzip bomb)", "never unpacked", "tests/http/test_http_answers.py::test_a_packed_answer_stays_packed", WAYS),
    Fault("A06", "a second answer to one request", "the connection isn't used again", "tests/http/test_http_connections.py::test_what_follows_an_answer_is_not_the_next_one", "2"),
    Fault("A07", "another protocol by 101", "garbage", f"{HTTP}[another protocol]", WAYS),
    Fault("A08", "a captive portal: 200 and a web page", "not accepted; link offline, reason portal", f"{OUTAGES}::test_an_outage_costs_nothing", "1"),
    Fault("A09", "a redirect", "not followed; link paused", f"{OUTAGES}::test_an_outage_costs_nothing", "1"),
    Fault("A10", "401, wrong API ID", "link paused, loud, probed; heals with a new API ID, without a restart", f"{OUTAGES}::test_a_new_api_id_is_noticed_without_a_restart", "2"),
    Fault("A11", "404, 410 and other signs of a wrong address", "link paused; no event's fault", f"{OUTAGES}::test_an_outage_costs_nothing", "2"),
    Fault("A12", "429 or 503 with Retry-After", "throttled for so long, clamped to 24 h", f"{OUTAGES}::test_an_outage_costs_nothing", "1"),
    Fault("A13", "a Retry-After that is none, negative, of the year 9999, of 400 digits", "ignored or clamped", f"{HERE}::test_bad_values_in_headers", "{VALUES}"),
    Fault("A14", "400, 409, 413, 415, 422 about one event", "dead at once, with the reason; the others go on", "tests/unit/test_outcome.py::test_a_status_means_what_the_table_says", "502 cases"),
    Fault("A15", "everything is refused", "after five lanes the link is paused: events of four lanes die at most", f"{OUTAGES}::test_an_api_that_refuses_everything_kills_of_four_lanes_at_most", "2"),
    Fault("A16", "one event makes the receiver fail (500, 403 of a firewall, timeout, hang-up)", "charged to that event alone, dead in the end", POISON, "6"),
    Fault("A17", "413 while most of the body is still to come", "heard", "tests/http/test_http_answers.py::test_an_early_refusal_is_heard", WAYS),
    Fault("A18", "409 after a try that may have been received", "tried again before it counts", "tests/unit/test_delivery.py::test_a_conflict_after_a_try_that_may_have_been_received_is_asked_once_more", "1"),
    Fault("A19", "any status from 100 to 999 with any headers, framing, body, timing", "what the table says; never raises; memory bounded", f"{HERE}::test_bad_answers", "{ANSWERS}"),
    Fault("A20", "the same to the stock client", "never raises, never accepts what isn't 2xx", f"{HERE}::test_bad_answers_to_the_client_that_stands_in", "{ANSWERS_STOCK}"),
    Fault("A21", "the answer throws back the API ID", "masked before any excerpt is kept", f"{HERE}::test_canaries", "21 kinds of answer x 2 databases"),
    Fault("A22", "a fifth of all requests fails in every way at once", "all delivered, in order", "tests/daemon/test_daemon_acceptance.py::test_everything_arrives_in_order_whatever_fails", "2,000 events x 2 databases"),
    Fault("A23", "one length said twice, or as a list", "an answer; the same for both clients", "tests/http/test_http_corpus.py::test_an_odd_answer_counts_for_its_own_event", "104 x 3"),
    Fault("A24", "a length and chunks", "an answer; its connection isn't used again", "tests/http/test_http_corpus.py::test_an_odd_answer_counts_for_its_own_event", "of those of A23"),
    Fault("A25", "odd lines, headers, chunks and interim answers that h11 and curl take", "answers", "tests/http/test_http_corpus.py::test_where_an_odd_answer_is_cut_makes_no_difference", "5 x 3"),
    Fault("A26", "rubbish, or another answer, behind an answer", "the answer counts, what follows is nobody's, for both clients", "tests/http/test_http_corpus.py::test_an_odd_answer_counts_for_its_own_event", "of those of A23"),
    Fault("A27", "an answer that could be read in two ways", "no answer; may have been received", "tests/http/test_http_corpus.py::test_what_could_mean_another_is_no_answer", "82 x 3"),
    Fault("A28", "an answer that is cut off at any place", "no answer", "tests/http/test_http_corpus.py::test_what_is_cut_off_is_no_answer", "14 x 3"),
    Fault("A29", "a head that is written to be looked at again and again", "read once", "tests/http/test_http_parser.py::test_a_head_is_looked_at_once", "1"),
    Fault("A30", "a redirect to a login page", "link paused; status and log say where it points to, by host and port", "tests/unit/test_outcome.py::test_a_redirect_says_where_it_points_to", "15"),
    Fault("A31", "a TLS connection that ends without a farewell", "a whole answer counts", "tests/http/test_http_tls.py::test_a_tls_connection_may_end_without_a_farewell", "4 x 3"),
    Fault("A32", "control characters in what a receiver says", "masked wherever it is shown", "tests/store/test_glance.py::test_the_last_words_are_those_of_the_receiver", "5 x 2 databases"),
)  # fmt: skip

PROCESS = (
    Fault("P01", "kill -9 at any moment", "the next one repeats what was in flight, first of its key; never more than max_in_flight", f"{HERE}::test_killed_and_stopped", "{KILLS} x 2 databases"),
    Fault("P02", "kill -9 while it recovers from the last", "the same", f"{HERE}::test_killed_and_stopped", "of those of P01"),
    Fault("P03", "SIGSTOP and SIGCONT, also beyond a try's deadline", "goes on; at most what was in flight repeats", f"{HERE}::test_killed_and_stopped", "{STOPS} x 2 databases"),
    Fault("P04", "stopped for longer than its lease", "changes nothing more, ends with 75", f"{LIFE}::test_a_daemon_that_was_taken_over_ends_with_75", "1"),
    Fault("P05", "a second daemon on one outbox", "ends with 75 and names the first", f"{LIFE}::test_a_second_daemon_ends_with_75", "2"),
    Fault("P06", "two start at once", "one of them has it", f"{STORE}/test_lease.py::test_two_that_start_at_once_share_nothing", "1"),
    Fault("P07", "SIGTERM with requests in flight", "they finish; nothing repeats", f"{LIFE}::test_sigterm_finishes_what_is_in_flight", "2"),
    Fault("P08", "SIGHUP with a broken configuration", "refused, the old one stays in force", f"{LIFE}::test_sighup_takes_a_new_setting_and_refuses_a_broken_one", "1"),
    Fault("P09", "a crash at any await point", "as P01", SIMULATION, "1,500 seeds"),
    Fault("P10", "a chore that fails", "logged, rung again; the drain goes on", "tests/daemon/test_daemon_chores.py::test_a_chore_that_fails_is_logged_and_rung_again", "1"),
    Fault("P11", "hours of work with faults and reloads", "memory, files, threads, WAL bounded", f"{HERE}::test_a_soak", "{SOAK_SECONDS} s"),
    Fault("P12", "the process stops without being told (frozen)", "liveness says so; systemd's watchdog ends it", "tests/daemon/test_daemon_web.py::test_a_stopped_process_is_not_alive", "1"),
    Fault("P13", "the holder of a PostgreSQL lease is another user's, whom /proc hides from us", "it lives: waited for", f"{STORE}/test_lease.py::test_who_is_hidden_from_us_is_not_taken_for_dead", "2"),
    Fault("P14", "stderr that nobody reads (a stuck log driver, a terminal under ^S)", "ships and stops all the same; lines are dropped and counted, and the latest kept", f"{STDERR}::test_a_log_that_nobody_reads_stops_neither_the_shipping_nor_the_stop", "2"),
    Fault("P15", "it is read again", "the log says how many lines are missing, /metrics as well", f"{STDERR}::test_lines_that_nobody_read_are_counted_in_the_log_and_in_the_metrics", "1"),
    Fault("P16", "stderr on a full disk, or its reader gone", "the same; no line is torn by the next, no exit status changes", f"{STDERR}::test_a_log_that_cannot_be_written_stops_nothing", "2"),
    Fault("P17", "somebody else has switched stderr to not blocking", "every line comes out whole", "tests/unit/test_unblocked.py::test_a_descriptor_that_somebody_else_switched_to_not_blocking", "1"),
    Fault("P18", "a service manager that doesn't read its socket", "nothing waits; what it missed goes with the next beat", "tests/daemon/test_daemon_notify.py::test_a_manager_that_does_not_read_holds_nothing_up", "1"),
    Fault("P19", "no boot id, no /proc, or parts of it (gVisor, ProcSubset=pid, a chroot)", "ships; who can't be known to be dead keeps its lease", f"{PLACE}::test_who_cannot_be_told_to_be_dead_keeps_its_lease", "3"),
    Fault("P20", "a bare place: no names of users, /etc, /dev, zones, environment, locale, few descriptors, nothing to write to", "ships; the port and all commands work", f"{PLACE}::test_the_daemon_ships_wherever_it_runs", "16"),
    Fault("P21", "it is process 1 of a container", "SIGTERM from outside stops it cleanly", f"{PLACE}::test_process_1_of_a_container_ships_and_stops", "1"),
    Fault("P22", "a container whose systemd can build no namespaces", "a drop-in, named by `service install`, lets it start", "tests/systemd/test_systemd_container.py::test_without_namespaces_the_drop_in_lets_it_start", "1"),
)  # fmt: skip

DISK = (
    Fault("D01", "power cut: unsynced writes are gone, reordered or torn", "what an application was told is there; nothing was sent that isn't", f"{HERE}::test_without_power", "{CUTS}"),
    Fault("D02", "power cut during the recovery from a power cut", "the same", f"{HERE}::test_without_power", "of those of D01"),
    Fault("D03", "power cut where the application commits with synchronous=NORMAL", "its last events may be lost, none of those was sent", f"{HERE}::test_without_power_where_the_application_does_not_sync", "{CUTS_NORMAL}"),
    Fault("D04", "power cut of a real ext4", "as D01", f"{HERE}::test_without_power_on_a_real_file_system", "{CUTS_EXT4}"),
    Fault("D05", "a disk that says it has synced and has not", "no promise can hold; the campaign finds it out", f"{HERE}::test_a_disk_that_lies_does_not_go_unnoticed", "1"),
    Fault("D06", "EIO once, at any operation on the outbox's files", "goes on, or ends with 69 and is started anew", f"{HERE}::test_files_that_fail", "{IO_SHARE:.0%} of some 100 operations"),
    Fault("D07", "EIO at every operation from some point on", "waits and says so; can be stopped; the next one goes on", f"{HERE}::test_files_that_fail", "{IO_SHARE:.0%} of some 100 operations"),
    Fault("D08", "ENOSPC once, at any operation that needs space", "as D06", f"{HERE}::test_files_that_fail", "{IO_SHARE:.0%} of some 70 operations"),
    Fault("D09", "ENOSPC at every operation from some point on", "as D07", f"{HERE}::test_files_that_fail", "{IO_SHARE:.0%} of some 70 operations"),
    Fault("D10", "the disk is full, and freed again", "sends nothing it can't claim; goes on by itself, repeats nothing", f"{HERE}::test_a_full_disk", "{FULL}"),
    Fault("D11", "a failed commit that was done all the same", "given again without being done twice", f"{STORE}/test_lost_answers.py::test_a_turn_that_was_lost_anywhere_can_be_given_again", "every statement x 2 databases"),
    Fault("D12", "the file is locked by a long transaction", "waits; records as soon as it can, sends nothing twice", f"{LIFE}::test_a_locked_database_is_waited_for", "1"),
    Fault("D13", "locked while it starts", "waits", f"{LIFE}::test_a_database_that_is_locked_at_the_start_is_waited_for", "1"),
    Fault("D14", "the file is removed while it runs", "waited for; never comes back empty", "tests/daemon/test_daemon_files.py::test_a_file_that_goes_away_is_waited_for", "1"),
    Fault("D15", "the file isn't SQLite", "exit 78, nothing written", f"{STORE}/test_engine.py::test_a_file_that_is_no_database_is_a_matter_of_the_schema", "1"),
    Fault("D16", "WAL on a network file system", "refused", f"{STORE}/test_opening.py::test_wal_over_a_network_is_refused", "5"),
    Fault("D17", "no right to write the file, or what lies beside it", "exit 77 with the modes it needs; not so where the disk is at fault", f"{STORE}/test_engine.py::test_a_file_that_is_not_written_is_denied_only_where_it_isnt_ours", "2"),
    Fault("D18", "a SQLite library with the WAL-reset bug", "known by version, the newer library is taken", f"{STORE}/test_engine.py::test_which_sqlite_has_the_wal_reset_bug_is_known", "11"),
    Fault("D19", "a restored backup", "ships again what was pending in it, unless an operator gives it up", "tests/daemon/test_daemon_restore.py::test_a_restored_backup_sends_again_what_nobody_discards", "1"),
    Fault("D20", "the disk is full, and an application takes every byte that is freed", "what was sent is recorded, and what is pending shipped, from the reserve", "tests/daemon/test_daemon_space.py::test_what_is_pending_on_a_full_disk_is_shipped_from_the_reserve", "2,000 events or so"),
    Fault("D21", "the disk is full when the outbox is taken", "waits and says so for 30 s, then 69", "tests/daemon/test_daemon_space.py::test_a_disk_that_is_full_at_the_start_is_waited_for", "1"),
    Fault("D22", "another file is put in its place while it runs", "ends with 75; its successor ships what is in that one", "tests/daemon/test_daemon_files.py::test_another_file_in_the_place_of_the_outbox_ends_it", "1"),
)  # fmt: skip

DATABASE = (
    Fault("B01", "ids in another order than commits (PostgreSQL)", "nothing is shown before all smaller ids are settled", f"{STORE}/test_fence.py::test_two_writers_and_a_look_after_every_step", "320 orders"),
    Fault("B02", "every order of two applications' and the daemon's steps", "committed events, once, in order", f"{HERE}::test_every_interleaving", "420 orders"),
    Fault("B03", "an open writing transaction elsewhere on the server", "holds back, and is named", f"{STORE}/test_fence.py::test_a_writing_transaction_of_another_database_holds_it_up", "1"),
    Fault("B04", "a prepared transaction that nobody ends", "holds back until somebody does", f"{STORE}/test_fence.py::test_a_prepared_transaction_holds_it_up_until_somebody_ends_it", "2"),
    Fault("B05", "the connection is cut", "made anew; nothing repeats", f"{LIFE}::test_a_lost_connection_is_made_anew", "1"),
    Fault("B06", "the server can't be reached at the start", "insisted on, then 69", f"{LIFE}::test_an_unreachable_server_is_insisted_on_and_then_69", "1"),
    Fault("B07", "a statement takes too long, the server is a standby", "counts as out of reach, and so is waited out", f"{STORE}/test_engine.py::test_postgres_is_understood_by_its_codes", "4"),
    Fault("B08", "a table is missing", "exit 78 and the command to run", f"{LIFE}::test_a_database_without_an_outbox_ends_with_78", "2"),
    Fault("B09", "an application's role tries more than to write", "refused by the database", f"{STORE}/test_grants.py::test_the_role_can_do_nothing_else", "10"),
    Fault("B10", "the database fails between a turn's statements", "as D11", f"{STORE}/test_recovery.py::test_a_recovery_that_is_lost_anywhere_is_done_by_the_next", "every statement x 2 databases"),
    Fault("B11", "it begins anew while somebody's transaction is open", "ships what was settled before", f"{STORE}/test_fence.py::test_who_begins_anew_need_not_wait_for_what_runs_by_then", "1"),
)  # fmt: skip

ROWS = (
    Fault("R01", "a text that isn't JSON", "refused by the database, aloud", f"{STORE}/test_write_contract.py::test_text_that_is_not_json_is_refused_aloud", "102"),
    Fault("R02", "JSON that is no event", "dead, with its reason; stops nothing", f"{ORDER}::test_what_is_no_event_dies_with_its_reason_and_stops_nothing", "2"),
    Fault("R03", "bytes that aren't UTF-8 as text", "dies alone", f"{ORDER}::test_invalid_utf8_dies_alone", "1"),
    Fault("R04", "INSERT OR REPLACE, OR IGNORE", "neither loses nor resends an event, nor swallows a bad one", f"{STORE}/test_write_sqlite.py::test_replace_neither_loses_nor_resends_an_event", "2"),
    Fault("R05", "an id that can't be a header as it is", "percent-encoded", "tests/http/test_http_parts.py::test_any_event_id_survives_its_header", "100"),
    Fault("R06", "a destination that nobody has configured", "waits, and status says so", f"{ORDER}::test_an_unknown_destination_waits_and_status_says_so", "1"),
    Fault("R07", "whatever else a row can hold", "refused with clear words, or delivered byte for byte, or dead", f"{HERE}::test_bad_rows", "{ROWS} x 2 databases x 2 modes"),
    Fault("R08", "a transaction that rolls back", "holds nothing up, is never sent", f"{ORDER}::test_a_transaction_that_rolls_back_holds_nothing_up", "1"),
    Fault("R09", "a key derived from a strange context", "never raises; the same on both databases", f"{STORE}/test_write_contract.py::test_valid_json_is_never_refused", "136"),
)  # fmt: skip

CLOCK = (
    Fault("T01", "the wall clock jumps, 1 ms to 70 years, forward and back, while an event waits", "goes on; nothing lost, doubled or out of order", f"{HERE}::test_wall_clock_jumps", "26"),
    Fault("T02", "it has jumped while no daemon ran", "the same; a time to try again that is too far off is not believed", f"{HERE}::test_wall_clock_jumps", "13"),
    Fault("T03", "the receiver's clock is wrong", "Retry-After is measured against its own Date", "tests/unit/test_outcome.py::test_a_date_is_measured_against_the_answers_own_date", "1"),
    Fault("T04", "the machine sleeps", "goes on; nothing lost, order kept", SIMULATION, "1,500 seeds"),
    Fault("T05", "the clock steps by 30 days, a year, ten years under a daemon that has lived for a while", "goes on at once: no stall, no memory; no missed run is listed", f"{CLOCKS}::test_a_step_costs_neither_time_nor_memory_nor_rows", "5"),
    Fault("T06", "the clock is set back by an hour, a month, ten years", "the same; every chore at its time by the monotonic clock", f"{SCHEDULE}::test_a_step_neither_adds_a_ring_nor_takes_one_away", "55"),
    Fault("T07", "delivery windows, when the clock is set to another month and back", "open and close within a second", f"{CLOCKS}::test_a_window_follows_the_wall_clock_at_once", "2"),
    Fault("T08", "a step forward beyond [retention]", "no row goes before its time has really passed", f"{CLOCKS}::test_a_step_costs_neither_time_nor_memory_nor_rows", "5"),
    Fault("T09", "a step back, and forward again: rows of a minute ago that say ten years", "the same", f"{CONFIRMED}::test_what_was_stamped_while_the_clock_was_behind_is_not_old_at_once", "3"),
    Fault("T10", "rows whose times lie in the future, because a clock ran ahead", "go when no clock has said such a time for as long as they stay", f"{STORE}/test_retention.py::test_what_is_stamped_beyond_every_clock_goes_too", "2"),
    Fault("T11", "SIGHUP after a step", "what is known of the clocks is kept", f"{CLOCKS}::test_a_reload_forgets_no_step", "4"),
    Fault("T12", "a restart after a step, in the same boot", "the next daemon knows what the last one knew", f"{CLOCKS}::test_a_restart_forgets_no_step", "2"),
    Fault("T13", "a machine that starts in another year, or has no battery", "the outbox's newest time is believed, no later one", f"{CLOCKS}::test_a_daemon_that_starts_in_another_year_deletes_nothing_for_it", "2"),
    Fault("T14", "any steps, any number of them, in any order", "nothing is old before its time has passed; after a calm period the clock is believed again", f"{CONFIRMED}::test_nothing_is_old_before_its_time_has_really_passed", "200"),
    Fault("T15", "ten thousand small steps", "as one large one; memory bounded", f"{CONFIRMED}::test_many_small_steps_are_one_large_one", "1"),
    Fault("T16", "a step, and the statistics by the minute", "none is deleted, none lies between the two times", f"{STORE}/test_minutes.py::test_a_clock_that_is_set_takes_no_minute_away", "8"),
    Fault("T17", "a step forward, and the alarm for the oldest event", "no alarm; ages are of the time that has passed", "tests/web/test_web_survey.py::test_within_the_hour_after_a_step_an_event_is_as_old_as_it_is", "4"),
    Fault("T18", "a step back, and the forecast for the disk", "yesterday's events are no growth of today", "tests/web/test_web_survey.py::test_a_clock_that_is_set_back_is_no_growth", "2"),
    Fault("T19", "somebody prunes by hand with a wrong clock", "a warning with both times; then an operator's word counts", "tests/cli/test_prune.py::test_a_clock_that_the_outbox_contradicts_is_told", "4"),
)  # fmt: skip

PEOPLE = (
    Fault("O01", "operators hold, retry, discard while it ships", "order and counters hold", SIMULATION, "1,500 seeds"),
    Fault("O02", "a wrong configuration", "every fault at once with its line, exit 78", "tests/config/test_config_faults.py::test_all_faults_are_reported_at_once_in_their_order", "1"),
    Fault("O03", "any file and any environment as configuration", "settings, or problems with a place; no secret shown", "tests/config/test_config_random.py::test_anything_gives_settings_or_problems_with_a_place", "100"),
    Fault("O04", "http to another machine", "refused: https, or stay on this machine", "tests/config/test_config_values.py::test_events_go_by_https_or_stay_on_this_machine", "8"),
    Fault("O05", "an API ID file that is broken or gone at a reload", "refused, the old settings stay", f"{LIFE}::test_sighup_refuses_a_file_that_cannot_be_used", "2"),
    Fault("O06", "somebody looks for the API ID, the password or a payload", "in no log, error, report, metric, process table; the former two not in the database", f"{HERE}::test_canaries", "some 180 texts"),
    Fault("O07", "a careless umask", "the outbox is 0660 in a 2770 directory all the same", f"{STORE}/test_opening.py::test_a_new_file_can_be_shared_whatever_the_umask", "4"),
    Fault("O08", "a file with secrets that others can read", "a warning", "tests/config/test_config_load.py::test_a_secret_that_others_can_read_is_a_warning", "1"),
    Fault("O09", "somebody else on the machine looks for the web's socket", "0660: owner and group only", "tests/web/test_web_server.py::test_a_socket_is_for_owner_and_group", "1"),
    Fault("O10", "somebody who may not read the outbox looks for its backup", "no more readable than the file", "tests/store/test_backup.py::test_nobody_reads_the_copy_who_could_not_read_the_file", "1"),
    Fault("O11", "somebody verifies a large outbox while it ships", "nobody feels it; 10 s for a million rows at most", f"{HERE}::test_an_audit_of_a_large_outbox", "{AUDIT_ROWS} rows x 2 databases"),
    Fault("O12", "a cron expression with weekdays by number or name, 7, sun-thu", "crontab's meaning", f"{WINDOWS}::test_the_days_are_those_of_crontab", "23"),
    Fault("O13", "any cron expression, at any minute, in any zone", "what croniter reads with cron's rule about days", f"{WINDOWS}::test_any_expression_means_what_cron_means", "1,200"),
    Fault("O14", "a day of the month and a weekday", "either, unless one of the fields begins with *", f"{WINDOWS}::test_the_days_are_those_of_crontab", "5"),
    Fault("O15", "what cron refuses: 22-6, 5/10, ?, L, #, names in full, six fields, @reboot", "refused, with the spelling that means it", f"{WINDOWS}::test_what_cron_refuses_is_refused_with_the_right_spelling", "33"),
    Fault("O16", "a window that no minute is in", "a warning with its line; status says for ever", f"{WINDOWS}::test_a_window_that_never_opens_is_a_warning_with_its_line", "1"),
    Fault("O17", "windows over a change to summer time or back", "minutes left out are none, minutes that come twice are open twice", f"{WINDOWS}::test_around_a_change_of_the_clock_a_minute_is_what_the_clock_shows", "66,000 minutes"),
    Fault("O18", "a time zone that there is not", "refused with its line and the nearest name", f"{WINDOWS}::test_an_unknown_time_zone_is_refused_with_its_line", "14"),
    Fault("O19", "a machine without a tz database", "the package's is used", f"{WINDOWS}::test_without_a_tz_database_of_the_system_there_is_one", "1"),
    Fault("O70", "the tab key in bash, zsh and fish, also behind options", "commands, values and files where they are meant", "tests/cli/test_completions.py::test_the_tab_key", "20 lines x 3 shells"),
    Fault("O71", "zsh's completions are sourced, with and without compinit", "they work as those of $fpath do", "tests/cli/test_completions.py::test_zsh_takes_a_file_that_is_sourced", "2"),
    Fault("O72", "a shop tests with events that the vendor refuses", "the sandbox refuses them in the vendor's words", "tests/sandbox/test_sandbox_server.py::test_what_the_schema_refuses_is_refused", "15 x 2 loops"),
    Fault("O73", "a file of a secret that others can read, named in the configuration", "a warning for each", "tests/config/test_config_load.py::test_a_file_of_a_secret_that_others_can_read_is_a_warning", "15"),
    Fault("O74", "an API ID that isn't there yet", "one place, the file, and what to put into it", "tests/cli/test_words.py::test_check_without_an_api_id_says_what_to_do", "1"),
    Fault("O75", "terminals from 20 to 200 columns", "columns give way in an order; no word is broken", "tests/cli/test_table.py::test_no_word_is_broken", "21 widths"),
    Fault("O76", "NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, TERM=dumb, pipes", "one rule decides for every command", "tests/cli/test_style.py::test_when_there_are_colours", "13 x 2"),
    Fault("O77", "a terminal that shows only ASCII", "bars, marks and ellipses of ASCII", "tests/cli/test_style.py::test_what_a_terminal_can_write", "7"),
    Fault("O78", "a payload without an end, or that is no JSON, is shown", "bounded; not a word of it is another", "tests/cli/test_style.py::test_a_payload_is_indented_and_nothing_else", "11"),
    Fault("O79", "somebody watches an outbox of any size", "a look reads a few rows by an index", "tests/store/test_glance.py::test_a_look_scans_no_table", "2"),
    Fault("O100", "a status is set back by hand (SQL) with all its marks", "told: the drain has gone past it", "tests/store/test_lookups.py::test_one_that_was_set_back_with_all_its_marks_is_told", "4"),
    Fault("O101", "an event dies while its link is down", "what it died of is in its history", "tests/unit/test_route.py::test_what_an_event_died_of_is_in_its_history_while_the_link_is_down", "1"),
    Fault("O102", "a link goes down for one thing, and its tries then fail of another", "both are told, and what to do about the newer", "tests/unit/test_troubles.py::test_what_to_do_fits_what_is_told", "4"),
    Fault("O103", "a sentence is longer than the terminal is wide", "no word is broken", "tests/cli/test_looks.py::test_no_word_is_broken", "18"),
    Fault("O104", "a terminal that nothing can be drawn on", "said, with the command that needs none", "tests/cli/test_looks.py::test_a_terminal_that_cannot_be_drawn_on_is_told_so", "2"),
    Fault("O105", "several things are broken at once, and somebody asks the doctor", "the worst is named first", "tests/cli/test_doctor.py::test_the_worst_is_named_first", "1"),
    Fault("O50", "an event is written for a destination that doesn't exist", "it waits; an operator sends it where it belongs", "tests/cli/test_reroute.py::test_events_of_a_destination_that_does_not_exist_are_sent_where_they_belong", "2"),
    Fault("O51", "events are sent elsewhere while a daemon has them claimed, its link down", "the daemon lets go of them; they arrive in order", "tests/cli/test_reroute.py::test_a_running_daemon_lets_go_of_what_it_has_and_delivers_it_elsewhere_in_order", "2"),
    Fault("O52", "an event is sent elsewhere that the look-ahead knows already", "not claimed for its old destination", "tests/store/test_reroute.py::test_an_event_that_was_sent_elsewhere_is_not_claimed_for_its_old_destination", "2"),
    Fault("O53", "a move of many events is cut off", "the rest is where it was; again moves it", "tests/store/test_reroute.py::test_half_of_it_is_no_harm", "2"),
    Fault("O54", "an application changes a destination by SQL", "refused, as before", "tests/store/test_reroute.py::test_a_destination_is_still_not_changed_by_hand", "2"),
    Fault("O55", "filters that match nothing", "said, exit status 1, with what there would be", "tests/cli/test_operating_commands.py::test_dead_letters_are_listed_by_cause", "2"),
    Fault("O56", "a command, a chapter or a word of another program's", "exit status 2 with what was meant", "tests/cli/test_words.py::test_a_command_that_is_not_there_leads_to_the_one_that_is_meant", "26"),
    Fault("O57", "a program reads a field that changes its name or type", "every field is in a table; no other is printed", "tests/cli/test_json_fields.py::test_every_field_that_is_printed_is_in_the_manual", "some 200 fields"),
    Fault("O58", "exported events are given to enqueue without --rows", "refused with the option", "tests/cli/test_words.py::test_exported_events_are_recognised", "1"),
    Fault("O20", "rights that modes don't show: access lists, read-only mounts, immutable files, a closed directory above", "doctor asks the kernel as the daemon's user, and names what refuses", "tests/doctor/test_doctor_access.py::test_an_access_list_that_lets_the_service_in_is_no_fault", "8"),
    Fault("O21", "a unit of another name, or none, or no systemd", "doctor names the command that starts it here", "tests/doctor/test_doctor_unit.py::test_what_starts_the_daemon_is_what_is_there", "6"),
    Fault("O22", "an extra or a package is missing", "the hint names this copy's own source and this environment's own pip", "tests/unit/test_installation.py::test_a_checkout_is_named_with_its_versions", "8"),
    Fault("O23", "a container file with a misspelt key, the file mounted instead of the directory, too short a stop", "README's own is checked by the schema and against the daemon", "tests/docs/test_readme_container.py::test_the_compose_file_is_valid", "7"),
    Fault("O24", "a schema tool drops what it doesn't know", "README has a filter for each, which lets the application's own tables through", "tests/docs/test_readme_schema_tools.py::test_the_patterns_for_other_tools_match_our_tables_and_no_other", "3"),
    Fault("O25", "the working directory was removed", "said; what needs none goes on", "tests/cli/test_shell.py::test_a_directory_that_was_removed_is_no_bug", "2"),
    Fault("O30", "a quiet shop: one event, and nobody answers", "told from the first failure: log, status, plugin, top, metrics, systemctl", "tests/daemon/test_daemon_truth.py::test_the_first_failure_is_told_and_survives_a_restart", "2 (each database)"),
    Fault("O31", "the API accepts and never answers", "told with the first deadline, and not with the fifth", "tests/daemon/test_daemon_truth.py::test_an_api_that_never_answers_is_told_with_its_first_deadline", "2 (each database)"),
    Fault("O32", "nothing was ever sent", "not said to be well: never tried; who doesn't run comes first", "tests/cli/test_operating_commands.py::test_what_was_never_tried_is_not_said_to_be_well", "1"),
    Fault("O33", "several things are wrong at once", "the worst first, everywhere in one order", "tests/unit/test_troubles.py::test_the_order_is_the_documented_one", "13 kinds together"),
    Fault("O34", "the disk is full and somebody asks the plugin", "critical, in the first words", "tests/cli/test_operating_commands.py::test_the_worst_is_the_first_line", "1"),
    Fault("O35", "keys are held, and nobody knows which", "listed and named, with the command for each", "tests/cli/test_operating_commands.py::test_what_is_held_is_listed", "2 (each database)"),
    Fault("O36", "a key is held that no event has", "held, and said: it may be a slip of the hand", "tests/cli/test_operating_commands.py::test_a_key_that_no_event_has_is_held_with_a_word", "2 (each database)"),
    Fault("O37", "a status is set back by hand (SQL)", "told, with what makes it go out again", "tests/store/test_lookups.py::test_a_status_that_was_set_back_by_hand_is_told", "4"),
    Fault("O38", "a dead letter that holds its key is changed by hand (SQL)", "told, with the command that lets the key go on", "tests/store/test_lookups.py::test_a_key_held_by_what_is_no_dead_letter_any_more_is_told", "2 (each database)"),
    Fault("O39", "a next try in a hundred years, written by hand (SQL)", "not waited for; events show says so", "tests/store/test_lookups.py::test_a_time_that_nobody_waits_for_is_none", "2 (each database)"),
    Fault("O40", "counters that rows changed by hand (SQL) have made wrong", "critical until verify --recount", "tests/cli/test_operating_commands.py::test_a_broken_promise_is_critical_until_it_is_recounted", "2 (each database)"),
    Fault("O41", "an event for a destination that nobody knows", "one warning for each name, both ways out", "tests/daemon/test_daemon_truth.py::test_a_destination_that_nobody_knows_is_told_once", "2 (each database)"),
    Fault("O42", "names of destinations without end", "twenty are told, then none", "tests/daemon/test_daemon_truth.py::test_names_without_end_do_not_fill_the_log", "40"),
    Fault("O43", "a link works again", "no warning, and how long it took", "tests/daemon/test_daemon_truth.py::test_good_news_is_no_warning", "2 (each database)"),
    Fault("O44", "a configuration is refused", "the log doesn't look like a start", "tests/daemon/test_daemon_truth.py::test_a_refused_configuration_does_not_look_like_a_start", "1"),
    Fault("O45", "advice that doesn't fit the configuration", "one table: file, credential, environment, url", "tests/unit/test_advice.py::test_advice_on_an_api_id_fits_where_it_comes_from", "5"),
)  # fmt: skip

FAULTS: dict[str, tuple[Fault, ...]] = {
    "Network": NETWORK,
    "Answers": ANSWERS,
    "Process": PROCESS,
    "Disk": DISK,
    "Database": DATABASE,
    "Rows": ROWS,
    "Clock": CLOCK,
    "People": PEOPLE,
}

IN_SHORT = {
    "Network": "nobody listens, no such name, hangs, resets, half-open connections, wrong certificates",
    "Answers": "garbage, endless, too early, a captive portal, any status with any headers",
    "Process": "kill -9 and SIGSTOP at any moment, a second daemon, a lost lease, no /proc, a stuck log",
    "Disk": "power cuts, EIO and ENOSPC at any operation, a full disk, a file that went away",
    "Database": "every order of transactions, lost connections, locks, missing tables and rights",
    "Rows": "what is no JSON, no event, no UTF-8; any key, any id",
    "Clock": "jumps of 1 ms to 70 years, forward and back, and what is deleted then; a machine that sleeps",
    "People": "operators at work meanwhile, wrong configurations, curious eyes",
}
"""Of each group what the README tells of it."""
