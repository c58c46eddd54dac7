// SPDX-License-Identifier: Apache-2.0
#include "transports/zeromq_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <absl/strings/str_cat.h>

namespace alertpipe::bench {
namespace {

// Messages that wait on each side of a connection: ZeroMQ's default, and fewer where they are so
// large that it would take the memory of the machine.
constexpr std::size_t kHighWaterMax = 1000;
constexpr std::size_t kHighWaterMin = 2;
constexpr std::size_t kHighWaterBytes = 67108864;

int HighWater(std::size_t bytes) {
  return static_cast<int>(std::clamp(kHighWaterBytes / bytes, kHighWaterMin, kHighWaterMax));
}

int TypeOf(Workload workload, bool is_first) {
  switch (workload) {
    case Workload::kStream:
      return is_first ? ZMQ_PUSH : ZMQ_PULL;
    case Workload::kFanIn:
      return is_first ? ZMQ_PULL : ZMQ_PUSH;
    case Workload::kFanOut:
      return is_first ? ZMQ_XPUB : ZMQ_SUB;
    case Workload::kPingPong:
      return is_first ? ZMQ_REQ : ZMQ_REP;
    case Workload::kPingAll:
      return is_first ? ZMQ_ROUTER : ZMQ_DEALER;
  }
  return -1;
}

// What a ROUTER knows a process by. The first byte must not be zero.
using RoutingId = std::array<char, 5>;

RoutingId RoutingIdOf(int process) {
  RoutingId id = {'p'};
  std::memcpy(id.data() + 1, &process, sizeof(process));
  return id;
}

absl::Status Error(const char* call) {
  return absl::InternalError(absl::StrCat(call, ": ", zmq_strerror(zmq_errno())));
}

}  // namespace

ZeroMqSocket::ZeroMqSocket(const Settings& settings, int self)
    : settings_(settings),
      self_(self),
      type_(TypeOf(settings.workload, self == 0)),
      binds_(type_ == ZMQ_PULL || type_ == ZMQ_XPUB || type_ == ZMQ_REP || type_ == ZMQ_ROUTER),
      context_(zmq_ctx_new()),
      socket_(zmq_socket(context_, type_)) {}

ZeroMqSocket::~ZeroMqSocket() {
  zmq_close(socket_);
  zmq_ctx_term(context_);
}

absl::Status ZeroMqSocket::Open(const std::string& endpoint, std::vector<int>* peers) {
  if (socket_ == nullptr) return Error("zmq_socket");
  if (absl::Status set = SetOptions(); !set.ok()) return set;
  if (binds_) {
    if (zmq_bind(socket_, endpoint.c_str()) != 0) return Error("zmq_bind");
    return AwaitPeers(peers);
  }
  if (zmq_connect(socket_, endpoint.c_str()) != 0) return Error("zmq_connect");
  return AwaitConnection();
}

absl::Status ZeroMqSocket::SetOptions() {
  // At the end everybody has everything; but a subscriber whose publisher is gone would linger to
  // subscribe again.
  absl::Status status = Set(ZMQ_LINGER, 0);
  status.Update(Set(ZMQ_SNDHWM, HighWater(settings_.bytes)));
  status.Update(Set(ZMQ_RCVHWM, HighWater(settings_.bytes)));
  if (type_ == ZMQ_XPUB) {
    // Without these, it drops what a slow subscriber has no room for, and tells of one subscriber.
    status.Update(Set(ZMQ_XPUB_NODROP, 1));
    status.Update(Set(ZMQ_XPUB_VERBOSE, 1));
  }
  if (type_ == ZMQ_ROUTER) status.Update(Set(ZMQ_ROUTER_MANDATORY, 1));
  if (type_ == ZMQ_DEALER) {
    const RoutingId id = RoutingIdOf(self_);
    if (zmq_setsockopt(socket_, ZMQ_ROUTING_ID, id.data(), id.size()) != 0) {
      status.Update(Error("zmq_setsockopt"));
    }
  }
  if (type_ == ZMQ_SUB && zmq_setsockopt(socket_, ZMQ_SUBSCRIBE, "", 0) != 0) {
    status.Update(Error("zmq_setsockopt"));
  }
  // Writable then means connected.
  if (!binds_ && type_ != ZMQ_SUB) status.Update(Set(ZMQ_IMMEDIATE, 1));
  return status;
}

// Subscriptions, or the hellos of those that a ROUTER must know before it can send to them.
absl::Status ZeroMqSocket::AwaitPeers(std::vector<int>* peers) {
  if (type_ != ZMQ_XPUB && type_ != ZMQ_ROUTER) return absl::OkStatus();
  for (int process = 1; process < settings_.processes(); ++process) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    const absl::Status received = Receive(&message);
    zmq_msg_close(&message);
    if (!received.ok()) return received;
    peers->push_back(process);
  }
  return absl::OkStatus();
}

// A subscriber needs not wait: its publisher does.
absl::Status ZeroMqSocket::AwaitConnection() {
  if (type_ == ZMQ_SUB) return absl::OkStatus();
  zmq_pollitem_t item = {socket_, 0, ZMQ_POLLOUT, 0};
  if (zmq_poll(&item, 1, -1) != 1) return Error("zmq_poll");
  return type_ == ZMQ_DEALER ? SayHello() : absl::OkStatus();
}

absl::Status ZeroMqSocket::SayHello() {
  zmq_msg_t message;
  zmq_msg_init(&message);
  return Send(&message);
}

absl::Status ZeroMqSocket::Send(zmq_msg_t* message) { return SendPart(message, 0); }

absl::Status ZeroMqSocket::SendTo(int process, zmq_msg_t* message) {
  if (is_router()) {
    const RoutingId id = RoutingIdOf(process);
    zmq_msg_t address;
    zmq_msg_init_size(&address, id.size());
    std::memcpy(zmq_msg_data(&address), id.data(), id.size());
    if (absl::Status sent = SendPart(&address, ZMQ_SNDMORE); !sent.ok()) return sent;
  }
  return SendPart(message, 0);
}

absl::Status ZeroMqSocket::Receive(zmq_msg_t* message) {
  absl::Status received = ReceivePart(message);
  // The sender is in the message's head as well.
  if (received.ok() && is_router()) received = ReceivePart(message);
  return received;
}

absl::Status ZeroMqSocket::Set(int option, int value) {
  if (zmq_setsockopt(socket_, option, &value, sizeof(value)) == 0) return absl::OkStatus();
  return Error("zmq_setsockopt");
}

absl::Status ZeroMqSocket::SendPart(zmq_msg_t* message, int flags) {
  while (zmq_msg_send(message, socket_, flags) < 0) {
    if (zmq_errno() == EINTR) continue;
    const absl::Status error = Error("zmq_msg_send");
    zmq_msg_close(message);
    return error;
  }
  return absl::OkStatus();
}

absl::Status ZeroMqSocket::ReceivePart(zmq_msg_t* message) {
  while (zmq_msg_recv(message, socket_, 0) < 0) {
    if (zmq_errno() != EINTR) return Error("zmq_msg_recv");
  }
  return absl::OkStatus();
}

}  // namespace alertpipe::bench
