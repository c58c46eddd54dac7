# SPDX-License-Identifier: Apache-2.0
"""The web server of this folder, with curl as its client, and a socket for what curl will not do.

Run as: http_test.py <http> <curl> [unittest's arguments].

Each test starts a server of its own, in a session of its own, and ends it with SIGTERM: it must
exit with 0 and leave no process behind.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

# Nothing here should take that long: it only bounds a test that fails.
LIMIT_S = 60


def session_members(session):
    """The processes of a session, zombies included."""
    members = []
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text(encoding='latin-1').rpartition(')')[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[3]) == session:
            members.append(int(stat.parent.name))
    return members


def state(pid):
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text(encoding='latin-1')
    return stat.rpartition(')')[2].split()[0]


def until(what, condition):
    end = time.monotonic() + LIMIT_S
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f'not within {LIMIT_S} s: {what}')
        time.sleep(0.02)
    return result


class ServerTest(unittest.TestCase):
    program = ''
    curl_program = ''
    count = 2  # of workers
    exit_code = 0
    options = ()

    def setUp(self):
        self.output = tempfile.TemporaryFile()
        self.addCleanup(self.output.close)
        self.server = subprocess.Popen(
            [self.program, '--port', '0', '--workers', str(self.count), *self.options],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            start_new_session=True)
        self.addCleanup(self.end_by_force)
        # The workers know each other's pids once the master knows them.
        found = until('the server is complete', lambda: re.search(
            rf'http://127\.0\.0\.1:(\d+)/.*: {self.count} workers', self.log(), re.DOTALL)
                      or self.server.poll() is not None)
        self.assertIsNot(found, True, self.log())
        self.port = int(found.group(1))

    def tearDown(self):
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.exit_code, self.server.wait(LIMIT_S), self.log())
        self.assertEqual([], session_members(self.server.pid))

    def end_by_force(self):
        """After a failure only: otherwise there is nobody left."""
        for pid in session_members(self.server.pid):
            os.kill(pid, signal.SIGKILL)
        self.server.wait()

    def log(self):
        return os.pread(self.output.fileno(), 1 << 20, 0).decode()

    def url(self, path):
        return f'http://127.0.0.1:{self.port}{path}'

    def start_curl(self, path, *options):
        return subprocess.Popen(
            [self.curl_program, '--silent', '--show-error', '--noproxy', '*', '--path-as-is',
             '--max-time', str(LIMIT_S), '--write-out', '\n%{http_code}', *options, self.url(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def curl(self, path, *options):
        """The status and the text of the response."""
        client = self.start_curl(path, *options)
        text, _, code = client.communicate()[0].rpartition(b'\n')
        self.assertEqual(0, client.returncode, text)
        return int(code), text.decode()

    def workers(self):
        """The pids, and which of them answered."""
        code, text = self.curl('/pids')
        self.assertEqual(200, code)
        lines = text.splitlines()
        answers = [line for line in lines if line.endswith(' (answers)')]
        self.assertEqual(1, len(answers), text)
        return [int(line.split()[0]) for line in lines], int(answers[0].split()[0])

    def connect(self):
        client = socket.create_connection(('127.0.0.1', self.port), LIMIT_S)
        self.addCleanup(client.close)
        return client

    def talk(self, *parts):
        """What a client that sends `parts`, and then no more, gets until the server closes."""
        client = self.connect()
        for part in parts:
            client.sendall(part)
        client.shutdown(socket.SHUT_WR)
        return self.rest(client)

    def rest(self, client):
        received = b''
        while part := client.recv(65536):
            received += part
        return received

    def stop(self, pid):
        os.kill(pid, signal.SIGSTOP)
        until('the worker stands still', lambda: state(pid) == 'T')


class RoutesTest(ServerTest):
    count = 4

    def test_pids(self):
        pids, answers = self.workers()
        self.assertEqual(4, len(set(pids)))
        self.assertIn(answers, pids)
        self.assertEqual(set(pids) | {self.server.pid}, set(session_members(self.server.pid)))

    def test_send(self):
        for pid in self.workers()[0]:  # one of them is asked to send to itself
            self.assertEqual((200, f'{pid} replied: hello to you too, you said good morning\n'),
                             self.curl(f'/send/{pid}/good%20morning'))
        for data, meant in (('', ''), ('a/b%2Fc', 'a/b/c'), ('%e2%82%AC+', '\u20ac+'),
                            ('%00', '\0'), ('1%0A2', '1\n2'), ('x?query', 'x'),
                            ('y' * 10000, 'y' * 10000)):
            self.assertEqual((200, f'{pid} replied: hello to you too, you said {meant}\n'),
                             self.curl(f'/send/{pid}/{data}'))

    def test_broadcast(self):
        pids, _ = self.workers()
        self.assertEqual((200, 'accepted for 4 workers\n'), self.curl('/broadcast/good%20night'))
        for pid in pids:
            until('each worker hears it', lambda p=pid: re.search(
                rf'worker {p}: \d+ announces 10 bytes', self.log()))
        self.assertNotIn('night', self.log())

    def test_errors(self):
        pid = self.workers()[0][0]
        for path, code, text in (
                ('/', 404, 'try'), ('/pid', 404, 'try'), ('/pids/', 404, 'try'),
                ('/send', 404, 'try'), (f'/send/{pid}', 400, 'needs'), ('/send/', 400, 'needs'),
                ('/send/abc/x', 400, 'pid'), ('/send/-1/x', 400, 'pid'), ('/send/0/x', 400, 'pid'),
                ('/send//x', 400, 'pid'), (f'/send/{pid}x/x', 400, 'pid'),
                ('/send/99999999999999999999/x', 400, 'pid'),
                (f'/send/{pid}/%', 400, 'percent'), (f'/send/{pid}/%4', 400, 'percent'),
                (f'/send/{pid}/%+1', 400, 'percent'), ('/broadcast/%zz', 400, 'percent'),
                ('/send/2147483647/x', 404, 'no process of this family has pid 2147483647'),
                (f'/send/{os.getpid()}/x', 404, f'no process of this family has pid {os.getpid()}'),
                ('/' + 'x' * 20000, 431, 'header')):
            with self.subTest(path=path[:40]):
                got = self.curl(path)
                self.assertEqual(code, got[0], got)
                self.assertIn(text, got[1])

    def test_methods(self):
        for options in (('-X', 'POST'), ('-X', 'DELETE'), ('-d', 'some body'), ('-X', 'BREW'),
                        ('-d', 'chunked', '-H', 'Transfer-Encoding: chunked')):
            with self.subTest(options=options):
                code, text = self.curl('/pids', '--include', '-H', 'Expect:', *options)
                self.assertEqual(405, code)
                self.assertIn('Allow: GET\r\n', text)
        self.assertEqual(405, self.curl('/pids', '--head')[0])
        with tempfile.NamedTemporaryFile() as body:
            body.write(b'b' * 3000000)
            body.flush()
            for headers in (('-H', 'Expect:'), ('-H', 'Expect: 100-continue'),
                            ('-H', 'Transfer-Encoding: chunked', '-H', 'Expect:')):
                with self.subTest(headers=headers):
                    self.assertEqual(413, self.curl('/pids', '--data-binary', '@' + body.name,
                                                    *headers)[0])
        for lines in (('X: ' + 'x' * 100,) * 200, ('X: y',) * 10000):
            headers = tempfile.NamedTemporaryFile('w')
            self.addCleanup(headers.close)
            headers.write('\n'.join(lines))
            headers.flush()
            self.assertEqual(431, self.curl('/pids', '--header', '@' + headers.name)[0])
        self.assertEqual(417, self.curl('/pids', '-d', 'a body', '-H', 'Expect: 100-continue')[0])

    def test_concurrent(self):
        pids, _ = self.workers()
        with tempfile.TemporaryDirectory() as folder:
            # Each of 20 at once, 50 to each worker.
            client = self.start_curl(
                '/send/{' + ','.join(map(str, pids)) + '}/n[1-50]', '--parallel', '--parallel-max',
                '20', '--no-progress-meter', '--output', f'{folder}/#1-#2')
            codes = client.communicate()[0].decode().split()
            self.assertEqual(0, client.returncode)
            self.assertEqual(['200'] * 200, codes)
            for pid in pids:
                for i in range(1, 51):
                    self.assertEqual(f'{pid} replied: hello to you too, you said n{i}\n',
                                     pathlib.Path(f'{folder}/{pid}-{i}').read_text('utf-8'))

    def test_killed_worker_is_replaced(self):
        pids, _ = self.workers()
        os.kill(pids[1], signal.SIGKILL)
        until('a new worker', lambda: self.log().count(' started\n') == 5)
        now, _ = self.workers()
        self.assertEqual(4, len(set(now)))
        self.assertEqual(set(pids) - {pids[1]}, set(pids) & set(now))
        for pid in now:
            self.assertEqual(200, self.curl(f'/send/{pid}/x')[0])
        self.assertEqual(404, self.curl(f'/send/{pids[1]}/x')[0])
        self.assertEqual(502, self.curl(f'/send/{self.server.pid}/x')[0])
        self.assertIn('accepted for 4', self.curl('/broadcast/x')[1])


    def test_restart_under_load(self):
        pids, _ = self.workers()
        with tempfile.TemporaryDirectory() as folder:
            client = self.start_curl('/pids?[1-2000]', '--parallel', '--parallel-max', '8',
                                     '--no-progress-meter', '--output', f'{folder}/#1')
            for restarts in (1, 2):
                self.server.send_signal(signal.SIGHUP)
                until('new workers', lambda n=restarts: self.log().count('been restarted') == n)
            codes = client.communicate()[0].decode().split()
        self.assertEqual(['200'] * 2000, codes)
        now, _ = self.workers()
        self.assertEqual(4, len(now))
        self.assertEqual(set(), set(pids) & set(now))

    def test_hangup_of_the_terminal(self):
        os.killpg(self.server.pid, signal.SIGHUP)  # to all of its processes: only the master heeds it
        until('a restart', lambda: 'been restarted' in self.log())
        self.assertNotIn('signal', self.log())


class ClientsTest(ServerTest):
    """What clients do that are slow, ahead, gone, or no web clients at all."""
    options = ('--idle-ms', '30000')

    def get(self, path, *headers):
        return '\r\n'.join([f'GET {path} HTTP/1.1', 'Host: x', *headers, '', '']).encode()

    def test_pipelining(self):
        pid = self.workers()[0][0]
        paths = [f'/send/{pid}/{i}' for i in range(300)]
        got = self.talk(b''.join(map(self.get, paths)))
        self.assertEqual(300, got.count(b'HTTP/1.1 200'))
        self.assertEqual([str(i).encode() for i in range(300)], re.findall(rb'you said (\d+)', got))

    def test_half_close_and_single_bytes(self):
        pid = self.workers()[0][0]
        request = self.get(f'/send/{pid}/slow')
        self.assertIn(b'you said slow', self.talk(*(request[i:i + 1] for i in range(len(request)))))
        self.assertEqual(b'', self.talk(request[:-1]))
        self.assertEqual(b'', self.talk())

    def test_connection_close(self):
        for request in (self.get('/pids', 'Connection: close'), b'GET /pids HTTP/1.0\r\n\r\n'):
            client = self.connect()
            client.sendall(request)
            self.assertIn(b'200 OK', self.rest(client))  # ends without our end

    def test_garbage(self):
        pids, _ = self.workers()
        unfinished = b'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nshort'
        for garbage in (unfinished, b'G' * 1000000, b'\0\xff' * 1000 + b'\r\n\r\n', b'\r\n\r\n',
                        b'hello\r\n\r\n',
                        b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', b'GET /pids HTTP/1.1\r\n\r\n',
                        b'GET pids HTTP/1.1\r\nHost: x\r\n\r\n', b'\x16\x03\x01\x02\0' * 2000,
                        b'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
                        b'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'):
            with self.subTest(garbage=garbage[:40]):
                try:
                    got = self.talk(garbage)
                except (ConnectionResetError, BrokenPipeError):
                    got = b''
                self.assertRegex(got, rb'\A(HTTP/1.1 4\d\d [^\0]*)?\Z')
                self.assertLessEqual(got.count(b'HTTP/1.1'), 2)
        self.assertEqual(pids, self.workers()[0])  # nobody died of it

    def test_gone_while_the_reply_is_awaited(self):
        pids, stopped = self.workers()
        self.stop(stopped)
        for reset in (True, False):
            client = self.connect()
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
            client.sendall(self.get(f'/send/{stopped}/x') * 2)
            self.assertNotEqual(stopped, self.workers()[1])
            client.close()
        self.workers()
        os.kill(stopped, signal.SIGCONT)
        self.assertEqual(200, self.curl(f'/send/{stopped}/x')[0])
        self.assertEqual(set(pids), set(self.workers()[0]))

    def test_receiver_dies_while_its_reply_is_awaited(self):
        _, stopped = self.workers()
        self.stop(stopped)
        client = self.connect()
        client.sendall(self.get('/pids'))
        client.recv(65536)
        client.sendall(self.get(f'/send/{stopped}/x'))
        self.workers()  # the one that answers has turned its loop, so it has seen the request
        os.kill(stopped, signal.SIGKILL)
        self.assertIn(b'HTTP/1.1 502', client.recv(65536))

    def test_end_with_clients_connected(self):
        idle, begun = self.connect(), self.connect()
        idle.sendall(self.get('/pids'))
        self.assertIn(b'200 OK', idle.recv(65536))
        begun.sendall(b'GET /pi')
        self.workers()
        # tearDown ends the server now, which does not wait for long.

    def test_ctrl_c(self):
        os.killpg(self.server.pid, signal.SIGINT)  # as a terminal does it: to all of its processes
        self.assertEqual(0, self.server.wait(LIMIT_S), self.log())


class LimitsTest(ServerTest):
    """Small queues, and little patience with those who do not reply."""
    options = ('--pipe-bytes', '4096', '--queue-bytes', '8192', '--reply-ms', '500')

    def test_receiver_does_not_read(self):
        _, stopped = self.workers()
        self.stop(stopped)
        code, text = self.curl(f'/send/{stopped}/x')
        self.assertEqual(504, code)
        self.assertIn(str(stopped), text)

        def refused():
            got = self.curl(f'/send/{stopped}/' + 'x' * 3000)
            self.assertIn(got[0], (503, 504))
            return got if got[0] == 503 else None

        text = until('a full queue', refused)[1]
        self.assertIn('queued_bytes_per_peer_max', text)
        code, text = self.curl('/broadcast/' + 'x' * 3000)
        self.assertEqual(200, code)
        self.assertRegex(text, rf'\Aaccepted for 1 workers\nrefused for {stopped}: .+\n\Z')
        os.kill(stopped, signal.SIGCONT)
        until('it replies again', lambda: self.curl(f'/send/{stopped}/x')[0] == 200)

    def test_end_with_a_worker_that_does_not(self):
        _, stopped = self.workers()
        self.stop(stopped)
        self.exit_code = 4
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(LIMIT_S)
        self.assertRegex(self.log(), rf'worker {stopped} .*did not end in time: killed')

    def test_data_over_the_queue(self):
        pid = self.workers()[0][0]
        self.assertEqual(413, self.curl(f'/send/{pid}/' + 'x' * 9000)[0])


class IdleTest(ServerTest):
    options = ('--idle-ms', '2000')

    def test_idle_clients(self):
        silent, begun, kept = self.connect(), self.connect(), self.connect()
        begun.sendall(b'GET /pids HTTP/1.1\r\n')
        kept.sendall(b'GET /pids HTTP/1.1\r\nHost: x\r\n\r\n')
        self.assertEqual(b'', self.rest(silent))
        self.assertIn(b'HTTP/1.1 408', self.rest(begun))
        self.assertIn(b'HTTP/1.1 200', self.rest(kept))


class CommandLineTest(unittest.TestCase):
    def test_errors(self):
        for options, code in ((['--port', 'x'], 2), (['--port', '65536'], 2),
                              (['--workers', '0'], 2), (['extra'], 2), (['--none'], 2),
                              (['--origin-ms', 'x'], 2), (['--origin', ''], 2),
                              (['--origin', '/nowhere/at/all'], 1), (['--queue-bytes', '1'], 1)):
            with self.subTest(options=options):
                result = subprocess.run([ServerTest.program, *options], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        timeout=LIMIT_S, check=False)
                self.assertEqual(code, result.returncode)
                self.assertNotEqual(b'', result.stderr)

    def test_port_in_use(self):
        with socket.create_server(('127.0.0.1', 0)) as other:
            result = subprocess.run(
                [ServerTest.program, '--port', str(other.getsockname()[1])],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                timeout=LIMIT_S, check=False)
        self.assertEqual((1, b''), (result.returncode, result.stdout))
        self.assertIn(b'cannot listen', result.stderr)



if __name__ == '__main__':
    ServerTest.program = sys.argv.pop(1)
    ServerTest.curl_program = sys.argv.pop(1)
    unittest.main()
