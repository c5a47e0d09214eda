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
ORDER = "tests/daemon/test_daemon_order.py"
POISON = "tests/daemon/test_daemon_poison.py::test_a_poisonous_event_among_others_dies_alone"
STORE = "tests/store"
SIMULATION = "tests/simulation/test_simulation.py::test_no_seed_violates_an_invariant"
WAYS = "3 (each client)"

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
    Fault("D23", "the file is on what a virtual machine shares with its host", "refused (78), with what to do", f"{STORE}/test_place.py::test_what_a_virtual_machine_shares_with_its_host_is_refused", "14"),
    Fault("D24", "it is on a network's file system, in the kernel or in user space", "refused; an unknown one in user space, too", f"{STORE}/test_place.py::test_what_other_machines_may_have_mounted_is_refused", "25"),
    Fault("D25", "it has two names (hard links)", "refused: each name has a WAL of its own", f"{STORE}/test_place.py::test_a_file_with_two_names_is_refused", "2"),
    Fault("D26", "it is mounted into a container by itself", "refused: mount the directory", f"{STORE}/test_place.py::test_a_real_bind_mount_of_one_file_is_seen", "2"),
    Fault("D27", "it is in a layer of a container's file system", "refused: whoever is inside has another file", f"{STORE}/test_place.py::test_a_layer_of_a_containers_file_system_is_refused", "1"),
    Fault("D28", "it comes back in rollback mode, as from a dump", "WAL again before the first write, and said", f"{STORE}/test_header.py::test_the_first_write_has_its_wal_again", "3"),
    Fault("D29", "the same while somebody uses it", "waits, writes nothing without a WAL", f"{STORE}/test_header.py::test_nothing_is_written_without_a_wal", "3"),
    Fault("D30", "it comes back in UTF-16", "refused (78)", f"{STORE}/test_header.py::test_a_file_that_was_loaded_as_utf_16_is_refused", "1"),
    Fault("D31", "any result code of SQLite", "one table says what it means, whose it is, and never to give up what is good", f"{STORE}/test_sqlite_codes.py::test_every_code_means_what_the_table_says", "110"),
    Fault("D32", "a table that this SQLite library is too old to read", "said so; never called damaged", f"{STORE}/test_sqlite_codes.py::test_an_older_library_than_the_applications_is_told_so", "1"),
    Fault("D33", "a trigger of the application's on our tables fails", "named; waited for", f"{STORE}/test_sqlite_codes.py::test_a_trigger_of_the_applications_on_our_tables_is_named", "1"),
    Fault("D34", "a backup of what needs the application's collation or function", "made; what only the application can check is named", f"{STORE}/test_backup.py::test_what_only_the_application_can_check_is_copied_and_named", "2"),
    Fault("D35", "a path with a typing error, a disk that isn't mounted", "78; nothing is made", "tests/cli/test_base_commands.py::test_a_path_with_a_typing_error_makes_nothing", "28"),
    Fault("D36", "an empty file in its place", "no outbox is made in it unasked", "tests/cli/test_base_commands.py::test_an_empty_file_is_not_taken_for_a_new_outbox_unasked", "1"),
    Fault("D37", "a URL that means no file", "named with its line and the right spelling", "tests/config/test_config_values.py::test_a_wrong_database_url_says_what_to_write", "45"),
    Fault("D38", "-wal, -shm or both are removed from under the daemon", "saved into the file before the next send; a new WAL is begun", f"{STORE}/test_beside.py::test_what_was_in_a_removed_wal_is_saved", "3"),
    Fault("D39", "the same while the application has them open", "nothing is sent; it is named, and what it commits is saved", f"{STORE}/test_beside.py::test_nothing_is_written_while_the_application_has_the_removed_one_open", "3"),
    Fault("D40", "the same, and another process has begun a new WAL", "not a word into the file; ends with 75, the removed WAL is kept", f"{STORE}/test_beside.py::test_what_another_has_committed_to_a_new_wal_is_never_taken_back", "1"),
    Fault("D41", "everything beside the file is removed, the lock too", "the lock is taken again; a second daemon ends with 75", "tests/daemon/test_daemon_files.py::test_whatever_lies_beside_the_file_may_be_removed", "2"),
    Fault("D42", "the lock file is closed to us", "named, with the command that opens it", f"{STORE}/test_file_lock.py::test_a_lock_file_that_is_closed_to_us_is_named", "1"),
    Fault("D43", "somebody holds the write lock for long", "named by number and program", f"{STORE}/test_sqlite_codes.py::test_who_holds_the_write_lock_is_named", "1"),
    Fault("D44", "a tool has dropped or changed triggers, indexes, tables", "made again at the next start, or by db upgrade", f"{STORE}/test_objects.py::test_what_is_gone_is_made_again", "14"),
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
    Fault("B12", "a setting of the application's session (standard_conforming_strings and all others of pg_settings)", "the INSERT, its key and ON CONFLICT are the same", f"{STORE}/test_settings.py::test_no_setting_of_a_session_changes_what_is_written", "every setting, each end"),
    Fault("B13", "a setting of the daemon's role, database or server", "set otherwise in each session of ours", f"{STORE}/test_settings.py::test_no_setting_of_a_role_changes_what_we_do", "every setting, each end"),
    Fault("B14", "wrong password, no such role, database or right, no connection left, no TLS", "told apart, in the server's words; 69, 77 or 78", f"{STORE}/test_login.py::test_every_refusal_has_its_kind_and_the_servers_words", "12"),
    Fault("B15", "nobody listens, no such name, no answer; words in another language", "counts as out of reach, and is told", f"{STORE}/test_login.py::test_words_are_judged_and_what_is_not_understood_is_tried_again", "13"),
    Fault("B16", "the password changes under the daemon, the file later", "read again for each login; nothing repeats", "tests/daemon/test_daemon_credentials.py::test_a_password_that_rotates_is_taken_without_a_restart", "1"),
    Fault("B17", "a certificate's file is replaced, or half written", "a new session with it; what can't be used is told and not taken", "tests/daemon/test_daemon_credentials.py::test_a_certificate_that_is_replaced_is_taken_without_a_restart", "1"),
    Fault("B18", "an idle connection is cut (idle_session_timeout, pooler, firewall)", "noticed before it is used, and made anew within the same look", f"{STORE}/test_engine.py::test_a_connection_that_was_cut_while_nobody_asked_is_not_used", "3"),
    Fault("B19", "several hosts, the first away or read-only", "the one that takes writes is found", f"{STORE}/test_login.py::test_of_several_hosts_the_one_that_takes_writes_is_found", "3"),
    Fault("B20", "the table is emptied and its ids begin anew", "a new session at once, behind the fence", "tests/daemon/test_daemon_tools.py::test_an_outbox_that_is_emptied_is_gone_on_with_at_once", "2"),
    Fault("B21", "the same, with an event on its way whose id is given again", "its outcome is noted for no other event", f"{STORE}/test_repair.py::test_what_was_sent_of_another_table_is_noted_for_no_event", "6"),
    Fault("B22", "the table is replaced, its sequence set back or dropped", "noticed with the next pulse", f"{STORE}/test_repair.py::test_every_way_to_begin_ids_anew_is_noticed", "4"),
    Fault("B23", "VACUUM FULL, CLUSTER, REINDEX under the daemon", "the same outbox: nothing is repeated", f"{STORE}/test_repair.py::test_a_vacuum_or_a_new_index_is_no_other_outbox", "4"),
    Fault("B24", "triggers dropped, disabled, or not for replicas", "told within seconds; `db upgrade` makes them again", f"{STORE}/test_repair.py::test_every_trigger_that_is_dropped_is_missed_and_made_again", "every trigger x 2 databases"),
    Fault("B25", "rows loaded as a replica (logical replication, pg_restore)", "the trigger fires all the same", f"{STORE}/test_repair.py::test_what_is_loaded_as_a_replica_has_its_key_and_lane", "1"),
    Fault("B26", "rows loaded without triggers", "`db upgrade` gives them keys and lanes", f"{STORE}/test_repair.py::test_pending_events_that_were_loaded_without_triggers_get_their_keys", "2"),
    Fault("B27", "an index is dropped", "told within seconds; `db upgrade` makes it again", f"{STORE}/test_repair.py::test_every_index_that_is_dropped_is_missed_and_made_again", "2"),
    Fault("B28", "rows copied without their sequence (logical replication)", "told; `db upgrade` sets it", f"{STORE}/test_repair.py::test_a_sequence_that_is_behind_the_rows_is_told_and_set", "1"),
    Fault("B29", "the lease's table is emptied, too", "told; `db upgrade` makes its row again", f"{STORE}/test_repair.py::test_a_lease_that_was_deleted_is_told_and_made_anew", "2"),
    Fault("B30", "rows are deleted by SQL", "`verify` tells, `db upgrade` recounts", f"{STORE}/test_repair.py::test_counters_are_recounted", "2"),
    Fault("B31", "100,000 ids that were never rows (ON CONFLICT DO NOTHING)", "growth and forecast count rows", f"{STORE}/test_vitals.py::test_growth_counts_rows_and_not_the_ids_that_were_never_one", "2"),
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
    Fault("R10", "a row that brings its own id, by any of its names", "refused aloud: the largest would leave none", f"{STORE}/test_write_sqlite.py::test_no_id_but_the_databases_own", "84"),
    Fault("R11", "an UPDATE of an id, by any of its names", "refused", f"{STORE}/test_write_sqlite.py::test_no_event_gets_another_id", "12"),
    Fault("R12", "a row at the end of all ids, from before", "noticed; db upgrade moves it, with its history", f"{STORE}/test_sequence.py::test_a_row_at_the_end_of_all_ids_is_noticed_and_moved", "2"),
    Fault("R13", "a count of ids that a tool has emptied or raised", "no id of the history is given again; INSERTs go through", f"{STORE}/test_sequence.py::test_a_count_that_was_emptied_is_raised_by_the_next_daemon", "6"),
)  # fmt: skip

CLOCK = (
    Fault("T01", "the wall clock jumps, 1 ms to 70 years, forward and back, while an event waits", "goes on; nothing lost, doubled or out of order", f"{HERE}::test_wall_clock_jumps", "26"),
    Fault("T02", "it has jumped while no daemon ran", "the same; a time to try again that is too far off is not believed", f"{HERE}::test_wall_clock_jumps", "13"),
    Fault("T03", "the receiver's clock is wrong", "Retry-After is measured against its own Date", "tests/unit/test_outcome.py::test_a_date_is_measured_against_the_answers_own_date", "1"),
    Fault("T04", "the machine sleeps", "goes on; nothing lost, order kept", SIMULATION, "1,500 seeds"),
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
    "Process": "kill -9 and SIGSTOP at any moment, a second daemon, a lost lease",
    "Disk": "power cuts, EIO and ENOSPC at any operation, a full disk, a file that went away",
    "Database": "every order of transactions, lost connections, locks, missing tables and rights",
    "Rows": "what is no JSON, no event, no UTF-8; any key, any id",
    "Clock": "jumps of 1 ms to 70 years, forward and back; a machine that sleeps",
    "People": "operators at work meanwhile, wrong configurations, curious eyes",
}
"""Of each group what the README tells of it."""
