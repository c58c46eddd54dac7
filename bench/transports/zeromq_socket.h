// SPDX-License-Identifier: Apache-2.0
//
// One process's ZeroMQ socket, of the type that its workload calls for:
//
//   stream, fanin    PUSH -> PULL
//   fanout           XPUB -> SUB: XPUB is PUB that hears who subscribes, and can wait for the slow
//   pingpong         REQ -> REP
//   pingall          ROUTER -> DEALER
//
// The process that there is only one of binds, the others connect; in the pairs it is process 1.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_ZEROMQ_SOCKET_H_
#define ALERTPIPE_BENCH_TRANSPORTS_ZEROMQ_SOCKET_H_

#include <zmq.h>

#include <string>
#include <vector>

#include <absl/status/status.h>

#include "settings.h"

namespace alertpipe::bench {

class ZeroMqSocket {
 public:
  ZeroMqSocket(const Settings& settings, int self);
  ZeroMqSocket(const ZeroMqSocket&) = delete;
  ZeroMqSocket& operator=(const ZeroMqSocket&) = delete;
  // Drops what has not been sent.
  ~ZeroMqSocket();

  // Returns when nothing that is sent from now on can be lost. `peers` are those that a post goes
  // to, where it goes to more than one.
  absl::Status Open(const std::string& endpoint, std::vector<int>* peers);

  bool is_router() const { return type_ == ZMQ_ROUTER; }

  // Blocks while there is no room. Takes the message in any case.
  absl::Status Send(zmq_msg_t* message);
  // The same; only a ROUTER has a choice.
  absl::Status SendTo(int process, zmq_msg_t* message);
  // Blocks until there is one.
  absl::Status Receive(zmq_msg_t* message);

 private:
  absl::Status SetOptions();
  absl::Status AwaitPeers(std::vector<int>* peers);
  absl::Status AwaitConnection();
  absl::Status SayHello();
  absl::Status Set(int option, int value);
  absl::Status SendPart(zmq_msg_t* message, int flags);
  absl::Status ReceivePart(zmq_msg_t* message);

  const Settings& settings_;
  int self_;
  int type_;
  bool binds_;
  void* context_;
  void* socket_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_ZEROMQ_SOCKET_H_
