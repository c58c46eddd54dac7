// SPDX-License-Identifier: Apache-2.0
//
// ZeroMQ over ipc://, used as its guide says: a context and sockets for each process, made after
// the fork; the pattern that belongs to the workload; blocking calls. Names and senders lie in
// front of the data in one frame, since a second frame would cost as much as another alert.
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <absl/strings/str_cat.h>

#include "board.h"
#include "link.h"
#include "transport.h"
#include "transports/children.h"
#include "transports/message.h"
#include "transports/pipe.h"
#include "transports/rendezvous.h"
#include "transports/zeromq_blocks.h"
#include "transports/zeromq_socket.h"

namespace alertpipe::bench {
namespace {

// What the library copies anyway is not worth an owner.
constexpr std::size_t kHandOverMin = 4000;

class ZeroMqLink {
 public:
  ZeroMqLink(const Settings& settings, const std::string& endpoint, Rendezvous* end, int self,
             Place* place)
      : processes_(settings.processes()),
        self_(self),
        handed_over_(settings.bytes > kHandOverMin),
        place_(place),
        end_(end),
        blocks_(settings),
        socket_(settings, self) {
    block_ = blocks_.Take();
    Check(socket_.Open(endpoint, &peers_));
    zmq_msg_init(&received_);
  }
  ZeroMqLink(const ZeroMqLink&) = delete;
  ZeroMqLink& operator=(const ZeroMqLink&) = delete;
  // When a socket is closed while its receiver has no room, ZeroMQ 4.3 loses what the receiver has
  // not read by then, however long the sender lingers. So nobody closes before all have everything.
  ~ZeroMqLink() {
    end_->Await();
    zmq_msg_close(&received_);
  }

  char* Data() { return block_->bytes.data() + kMessageHeadBytes; }

  bool Post(Name name) {
    PutHead(block_->bytes.data(), name, self_);
    zmq_msg_t message;
    if (handed_over_) {
      ZeroMqBlocks::Lend(block_, &message);
    } else {
      Copy(block_->bytes, &message);
    }
    tally_.alerts += peers_.empty() ? 1 : peers_.size();
    if (socket_.is_router()) {
      for (const int peer : peers_) SendCopy(peer, &message);
      zmq_msg_close(&message);
    } else {
      Check(socket_.Send(&message));
    }
    if (handed_over_) block_ = blocks_.Take();
    return true;
  }

  bool Reply(Name name, std::string_view data) {
    zmq_msg_t message;
    zmq_msg_init_size(&message, kMessageHeadBytes + data.size());
    auto* bytes = static_cast<char*>(zmq_msg_data(&message));
    PutHead(bytes, name, self_);
    std::memcpy(bytes + kMessageHeadBytes, data.data(), data.size());
    ++tally_.alerts;
    Check(socket_.SendTo(replying_to_, &message));
    return true;
  }

  void Finish() { finishing_ = true; }
  Tally tally() const { return tally_; }
  void Fail(const std::string& why) { place_->Fail(why); }

  template <typename Role>
  void Run(Role& role) {
    while (!finishing_) {
      if (role.posting()) {
        role.OnReady(*this);
      } else {
        Receive(role);
      }
    }
  }

 private:
  template <typename Role>
  void Receive(Role& role) {
    Check(socket_.Receive(&received_));
    const Message message = TakeApart(View(&received_), processes_);
    if (!message.whole) Abort("a message has no head");
    replying_to_ = message.sender;
    role.OnAlert(*this, message.sender, message.name, message.data);
  }

  static std::string_view View(zmq_msg_t* message) {
    return {static_cast<const char*>(zmq_msg_data(message)), zmq_msg_size(message)};
  }

  static void Copy(std::string_view bytes, zmq_msg_t* message) {
    zmq_msg_init_size(message, bytes.size());
    std::memcpy(zmq_msg_data(message), bytes.data(), bytes.size());
  }

  void SendCopy(int peer, zmq_msg_t* message) {
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    zmq_msg_copy(&copy, message);
    Check(socket_.SendTo(peer, &copy));
  }

  void Check(const absl::Status& status) {
    if (!status.ok()) Abort(std::string(status.message()));
  }

  // There is no way to go on.
  void Abort(const std::string& why) {
    Fail(why);
    _exit(1);
  }

  int processes_;
  int self_;
  bool handed_over_;
  Place* place_;
  Rendezvous* end_;
  ZeroMqBlocks blocks_;
  ZeroMqBlocks::Block* block_ = nullptr;
  ZeroMqSocket socket_;
  std::vector<int> peers_;
  zmq_msg_t received_;
  Tally tally_;
  int replying_to_ = 0;
  bool finishing_ = false;
};

class ZeroMqTransport {
 public:
  using Link = ZeroMqLink;
  static constexpr std::string_view kName = "zeromq";
  static constexpr Abilities kCan = {};

  static absl::StatusOr<std::unique_ptr<ZeroMqTransport>> Create(const Settings& settings) {
    const absl::StatusOr<std::size_t> capacity = GrantedCapacity(settings.capacity);
    if (!capacity.ok()) return capacity.status();
    absl::StatusOr<std::unique_ptr<Rendezvous>> end = Rendezvous::Create(settings.processes());
    if (!end.ok()) return end.status();
    std::string folder = (std::filesystem::temp_directory_path() / "alertpipe_XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) return absl::ErrnoToStatus(errno, folder);
    return std::unique_ptr<ZeroMqTransport>(
        new ZeroMqTransport(settings, *std::move(end), folder, *capacity));
  }
  ZeroMqTransport(const ZeroMqTransport&) = delete;
  ZeroMqTransport& operator=(const ZeroMqTransport&) = delete;
  ~ZeroMqTransport() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  absl::StatusOr<pid_t> Spawn(int process, Place* place,
                              const std::function<int(ZeroMqLink&)>& main) {
    return children_.Fork([&] {
      ZeroMqLink link(settings_, absl::StrCat("ipc://", folder_, "/hub"), end_.get(), process,
                      place);
      return main(link);
    });
  }

  std::vector<Ended> Reap() { return children_.Reap(); }
  std::size_t capacity() const { return capacity_; }

 private:
  ZeroMqTransport(const Settings& settings, std::unique_ptr<Rendezvous> end,
                  const std::string& folder, std::size_t capacity)
      : settings_(settings), end_(std::move(end)), folder_(folder), capacity_(capacity) {}

  Settings settings_;
  std::unique_ptr<Rendezvous> end_;
  std::string folder_;
  std::size_t capacity_;
  Children children_;
};

const Registered<ZeroMqTransport> kRegistered;

}  // namespace
}  // namespace alertpipe::bench
