# SPDX-License-Identifier: Apache-2.0
"""The cache in every worker of the web server of this folder.

Run as: cache_test.py <http> [unittest's arguments].

A connection stays with the worker that has accepted it, and answers say which one that is. So a
test that has a connection to each worker can ask each of them; which worker accepts is decided by
stopping the others meanwhile.

Values are numbers that grow with each PUT. A read must not bring a lower one than the last PUT that
had been answered when the read was begun.
"""

import http.client
import os
import pathlib
import random
import re
import signal
import sys
import tempfile
import threading
import unittest

from http_test import LIMIT_S, ServerTest, until


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.body = response.read()
        self.worker = int(response.headers['X-Worker'] or 0)
        self.hit = {'hit': True, 'miss': False}.get(response.headers['X-Cache'])


class Client:
    """One connection, so one worker."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection('127.0.0.1', port, timeout=LIMIT_S)

    def begin(self, method, path, body=None):
        self.connection.request(method, path, body)

    def end(self):
        return Answer(self.connection.getresponse())

    def ask(self, method, path, body=None):
        self.begin(method, path, body)
        return self.end()

    def get(self, key):
        return self.ask('GET', f'/cache/{key}')

    def put(self, key, value):
        return self.ask('PUT', f'/cache/{key}', value)

    def counts(self):
        """What the worker has counted."""
        return {name: int(count) for name, count in
                re.findall(r'(\S+) (\d+)\n', self.ask('GET', '/cache').body.decode())}

    def close(self):
        self.connection.close()


class CacheTest(ServerTest):
    count = 4
    more = ()  # options

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.options = ('--origin', folder.name, *self.more)
        super().setUp()

    def client(self):
        client = Client(self.port)
        self.addCleanup(client.close)
        return client

    def workers(self):
        pids = re.findall(r'\d+', self.client().ask('GET', '/pids').body.decode())
        return [int(pid) for pid in pids]

    def client_of_each(self):
        """By pid."""
        pids = self.workers()
        self.assertEqual(self.count, len(pids))
        clients = {}
        try:
            while len(clients) < len(pids):
                client = self.client()
                pid = client.ask('GET', '/cache').worker
                self.assertNotIn(pid, clients)
                clients[pid] = client
                self.stop(pid)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        return clients

    def reads(self):
        return self.client().counts()['origin-reads']


# Whoever waits does not lose patience, however slow the machine is.
PATIENT = ('--fetch-ms', '60000', '--reply-ms', '60000')


class BasicsTest(CacheTest):
    more = ('--origin-ms', '10', *PATIENT)

    def test_a_value_is_read_once_and_then_found_everywhere(self):
        (self.folder / 'key').write_bytes(b'\0 any \xff bytes\n')
        clients = self.client_of_each()
        first = next(iter(clients.values())).get('key')
        self.assertEqual((200, b'\0 any \xff bytes\n'), (first.status, first.body))
        self.assertIs(first.hit, False)
        for pid, client in clients.items():
            # The others have got it as well, or will.
            answer = client.get('key')
            self.assertEqual((200, first.body, pid), (answer.status, answer.body, answer.worker))
            self.assertTrue(client.get('key').hit)
        self.assertEqual(1, self.reads())

    def test_nothing_is_a_value_too(self):
        for client in self.client_of_each().values():
            self.assertEqual(404, client.get('nothing').status)
            self.assertTrue(client.get('nothing').hit)
        self.assertEqual(1, self.reads())

    def test_put_and_delete(self):
        clients = list(self.client_of_each().values())
        for value in (b'one', b'', b'x' * 65536, b' + ', None, b'two'):
            putter = random.choice(clients)
            method = 'DELETE' if value is None else 'PUT'
            done = putter.ask(method, '/cache/key', value)
            self.assertEqual(200, done.status, done.body)
            file = self.folder / 'key'
            self.assertEqual(value, file.read_bytes() if file.exists() else None)
            for client in clients:
                answer = client.get('key')
                self.assertEqual(404 if value is None else 200, answer.status)
                self.assertEqual(b'there is no key\n' if value is None else value, answer.body)
        self.assertEqual(200, clients[0].ask('DELETE', '/cache/never-there').status)

    def test_errors(self):
        client = self.client()
        for key in ('', '.', '..', '..%2Fx', 'a/b', '/etc/passwd', 'a.b', '%61', 'x' * 65):
            for method in ('GET', 'PUT', 'DELETE'):
                with self.subTest(key=key, method=method):
                    answer = client.ask(method, '/cache/' + key, b'x' if method == 'PUT' else None)
                    self.assertEqual(400, answer.status)
                    self.assertIn(b'1 to 64 letters', answer.body)
        self.assertEqual([], list(self.folder.iterdir()))
        self.assertEqual(200, client.put('-' * 64, b'x').status)
        self.assertEqual(405, client.ask('POST', '/cache/key', b'x').status)
        client.begin('POST', '/cache/key')
        response = client.connection.getresponse()
        self.assertEqual('GET, PUT, DELETE', response.headers['Allow'])
        response.read()
        self.assertEqual(405, client.ask('PUT', '/cache', b'x').status)
        answer = client.put('key', b'x' * 65537)
        self.assertEqual((413, b'the body is too long\n'), (answer.status, answer.body))
        self.assertFalse((self.folder / 'key').exists())

    def test_what_is_no_file_of_ours(self):
        (self.folder / 'link').symlink_to('/etc/passwd')
        (self.folder / 'folder').mkdir()
        (self.folder / 'large').write_bytes(b'x' * 65537)
        for key in ('link', 'folder', 'large'):
            with self.subTest(key=key):
                answer = self.client().get(key)
                self.assertEqual(500, answer.status)
                self.assertIn(b'the origin', answer.body)
        self.assertEqual(500, self.client().put('folder', b'x').status)
        os.mkfifo(self.folder / 'fifo')
        self.assertEqual(b'', self.client().get('fifo').body)  # and nobody waits for its writer


class ReplacedTest(CacheTest):
    more = ('--origin-ms', '0', *PATIENT)

    def test_one_that_is_being_replaced_hears_of_puts(self):
        clients = self.client_of_each()
        old = self.workers()[0]  # the first to be replaced
        other = next(client for pid, client in clients.items() if pid != old)
        self.assertEqual(200, other.put('key', 'old').status)
        self.assertEqual(b'old', clients[old].get('key').body)
        # It has accepted a client that says nothing yet, and will answer one request of it.
        for pid in clients.keys() - {old}:
            self.stop(pid)
        late = self.client()
        late.connection.connect()
        self.assertTrue(clients[old].get('key').hit)
        self.stop(old)
        for pid in clients.keys() - {old}:
            os.kill(pid, signal.SIGCONT)
        self.server.send_signal(signal.SIGHUP)
        until('a successor', lambda: self.log().count(' started\n') == 5)
        until('the old one gets nothing new', lambda:
              other.ask('GET', '/broadcast/x').body == b'accepted for 4 workers\n')
        other.begin('PUT', '/cache/key', 'new')
        os.kill(old, signal.SIGCONT)
        self.assertEqual(200, other.end().status)
        try:
            answer = late.get('key')
        except (OSError, http.client.HTTPException):
            pass  # it has waited for the request for a second, which has been too short
        else:
            self.assertEqual((200, b'new', old), (answer.status, answer.body, answer.worker))
        until('a restart', lambda: 'been restarted' in self.log())


class OneReadTest(CacheTest):
    more = ('--origin-ms', '200', *PATIENT)

    def test_one_reads_for_all(self):
        clients = list(self.client_of_each().values()) + [self.client() for _ in range(20)]
        for i in range(10):
            (self.folder / f'key{i}').write_text(str(i), 'utf-8')
            for client in clients:
                client.begin('GET', f'/cache/key{i}')
            answers = [client.end() for client in clients]
            self.assertEqual({(200, str(i).encode())}, {(a.status, a.body) for a in answers})
            self.assertEqual(4, len({a.worker for a in answers}))
            self.assertEqual(i + 1, self.reads())

    def test_one_reads_again_for_all_after_a_put(self):
        clients = list(self.client_of_each().values())
        for i in range(10):
            self.assertEqual(200, clients[i % 4].put('key', str(i)).status)
            for client in clients:
                client.begin('GET', '/cache/key')
            self.assertEqual([str(i).encode()] * 4, [client.end().body for client in clients])
            self.assertEqual(i + 1, self.reads())

    def test_the_one_that_reads_is_killed(self):
        asked, waiting = self.client_of_each().popitem()
        others = self.client_of_each()
        del others[asked]
        for i in range(50):
            (self.folder / f'key{i}').write_text(str(i), 'utf-8')
            waiting.begin('GET', f'/cache/key{i}')
            read = [pid for pid, client in others.items() if client.counts()['reading'] > 0]
            if read:
                os.kill(read[0], signal.SIGKILL)
                answer = waiting.end()
                self.assertEqual((200, str(i).encode()), (answer.status, answer.body))
                self.assertGreater(self.reads(), i + 1)  # it had to be read again
                until('a new worker', lambda: self.log().count(' started\n') == 5)
                return
            self.assertEqual(200, waiting.end().status)
        self.fail('nobody reads for others')


class PatienceTest(CacheTest):
    more = ('--origin-ms', '200', '--fetch-ms', '300')

    def test_the_one_that_should_read_is_stopped(self):
        clients = self.client_of_each()
        asked, waiting = clients.popitem()
        for pid in clients:
            self.stop(pid)
        for i in range(10):  # some of these would be read by others
            answer = waiting.get(f'key{i}')
            self.assertEqual((404, asked), (answer.status, answer.worker))
        for pid in clients:
            os.kill(pid, signal.SIGCONT)

    def test_a_put_waits_for_a_stopped_one_and_not_forever(self):
        clients = self.client_of_each()
        self.assertEqual(200, next(iter(clients.values())).put('key', '1').status)
        for client in clients.values():
            self.assertEqual(b'1', client.get('key').body)
        stopped, late = clients.popitem()
        self.stop(stopped)
        answer = next(iter(clients.values())).put('key', '2')
        self.assertEqual(504, answer.status)
        self.assertIn(f' {stopped}\n', answer.body.decode())
        for client in clients.values():
            self.assertEqual(b'2', client.get('key').body)
        os.kill(stopped, signal.SIGCONT)
        self.assertEqual(b'2', late.get('key').body)  # it has found the news before it looks


class TooSlowTest(CacheTest):
    more = ('--origin-ms', '10000', '--fetch-ms', '100', '--reply-ms', '300')

    def test_a_get_does_not_wait_forever(self):
        answer = self.client().get('key')
        self.assertEqual((504, b'nobody has brought the value in time\n'),
                         (answer.status, answer.body))


class GapTest(CacheTest):
    more = ('--origin-ms', '0', '--reply-ms', '3000', '--pipe-bytes', '4096',
            '--queue-bytes', '4096')

    # Long, so that it is too much whichever workers the clients are connected to: each of them has
    # a queue of its own for the stopped one.
    @staticmethod
    def key(i):
        return f'key{i}-' + 'x' * 50

    def test_one_that_has_missed_something_forgets_everything(self):
        clients = self.client_of_each()
        putter = next(iter(clients.values()))
        for client in clients.values():
            self.assertEqual(404, client.get(self.key(399)).status)
        stopped, late = clients.popitem()
        drops = late.counts()['drops']
        self.stop(stopped)
        # More than there is room for, all of which the stopped one has to be told.
        putters = [self.client() for _ in range(200)]
        for start in (0, 200):
            for i, client in enumerate(putters):
                client.begin('PUT', '/cache/' + self.key(start + i), 'new')
            self.assertEqual({504}, {client.end().status for client in putters})
        os.kill(stopped, signal.SIGCONT)
        until('it hears of the gap', lambda: late.counts()['drops'] > drops)
        for i in range(400):
            self.assertEqual(b'new', late.get(self.key(i)).body)
        self.assertEqual(200, putter.put(self.key(0), 'newer').status)
        self.assertEqual(b'newer', late.get(self.key(0)).body)


class Load:
    """Keys with one writer each, and readers of all keys."""

    def __init__(self, test, keys):
        self.test = test
        self.answered = dict.fromkeys(keys, -1)  # the value of the last PUT that was answered
        self.begun = dict.fromkeys(keys, -1)
        self.stale = []
        self.puts = self.reads = 0
        self.workers = set()  # that have answered readers
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.threads = []

    def start(self, readers, writers=1):
        """Of writers: so many for each key, 0 or 1."""
        jobs = [(self.read,)] * readers + [(self.write, key) for key in self.answered] * writers
        for job in jobs:
            thread = threading.Thread(target=self.in_turns, args=job, daemon=True)
            self.threads.append(thread)
            thread.start()
        self.test.addCleanup(self.ending.set)

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(LIMIT_S)
            self.test.assertFalse(thread.is_alive())

    def in_turns(self, do, *args):
        """A connection for some requests, and then another one, mostly to another worker."""
        while not self.ending.is_set():
            client = Client(self.test.port)
            try:
                for _ in range(random.randrange(1, 20)):
                    do(client, *args)
            except (OSError, http.client.HTTPException):
                pass  # that worker has been killed, or has ended
            client.close()

    def write(self, client, key):
        self.begun[key] += 1
        value = self.begun[key]
        answer = client.put(key, str(value))
        if answer.status == 200:
            self.answered[key] = value
            self.puts += 1

    def read(self, client):
        key = random.choice(list(self.answered))
        least = self.answered[key]
        answer = client.get(key)
        with self.lock:
            self.reads += 1
            self.workers.add(answer.worker)
            if answer.status not in (200, 404):
                return
            value = int(answer.body) if answer.status == 200 else -1
            if not least <= value <= self.begun[key]:
                self.stale.append(f'{answer.worker} said that {key} is {value}, {least} was there')


class NoStaleReadTest(CacheTest):
    """Values are on their way for longer than a PUT takes: many of them are too old on arrival."""
    more = ('--origin-ms', '3', '--reply-ms', '20000')

    def check(self, load, puts):
        until('many PUTs', lambda: load.puts >= puts or load.stale)
        load.end()
        self.assertEqual([], load.stale)
        self.assertGreater(load.reads, 0)

    def test_each_worker_after_each_put(self):
        clients = self.client_of_each()
        load = Load(self, ['key'])
        load.start(readers=3, writers=0)
        for i in range(300):
            pids = random.sample(list(clients), 4)
            load.write(clients[pids[0]], 'key')
            self.assertEqual(i, load.answered['key'])
            for pid in pids:
                clients[pid].begin('GET', '/cache/key')
            for pid in pids:
                answer = clients[pid].end()
                self.assertEqual((200, str(i), pid),
                                 (answer.status, answer.body.decode(), answer.worker))
        self.check(load, 300)

    def test_many_writers(self):
        load = Load(self, [f'key{i}' for i in range(6)])
        load.start(readers=6)
        self.check(load, 600)
        self.assertEqual(set(self.workers()), load.workers)

    def test_workers_are_killed(self):
        load = Load(self, [f'key{i}' for i in range(4)])
        load.start(readers=4)
        for kills in range(1, 13):
            before = load.puts
            os.kill(random.choice(self.workers()), signal.SIGKILL)
            until('PUTs are answered again', lambda n=before: load.puts > n + 5 or load.stale)
            until('a new worker', lambda n=kills: self.log().count(' started\n') == 4 + n)
        self.check(load, 100)

    def test_workers_are_replaced(self):
        load = Load(self, [f'key{i}' for i in range(4)])
        load.start(readers=4)
        for restarts in range(1, 5):
            self.server.send_signal(signal.SIGHUP)
            until('new workers', lambda n=restarts: self.log().count('been restarted') == n)
        self.check(load, 100)


class NoOriginTest(ServerTest):
    def test_there_is_no_cache(self):
        for method in ('GET', 'PUT'):
            client = Client(self.port)
            self.addCleanup(client.close)
            answer = client.ask(method, '/cache/key')
            self.assertEqual(404, answer.status)
            self.assertIn(b'--origin', answer.body)


if __name__ == '__main__':
    ServerTest.program = sys.argv.pop(1)
    unittest.main()
