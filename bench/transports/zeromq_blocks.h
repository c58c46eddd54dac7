// SPDX-License-Identifier: Apache-2.0
//
// Memory for messages that ZeroMQ sends from where they lie. A block is free again when ZeroMQ, in
// a thread of its own, has sent it to everybody; they become free in the order in which they left.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_ZEROMQ_BLOCKS_H_
#define ALERTPIPE_BENCH_TRANSPORTS_ZEROMQ_BLOCKS_H_

#include <zmq.h>

#include <atomic>
#include <deque>
#include <string>

#include "contents.h"
#include "settings.h"
#include "transports/message.h"

namespace alertpipe::bench {

class ZeroMqBlocks {
 public:
  struct Block {
    std::atomic<bool> is_lent{false};
    std::string bytes;  // a head, then data
  };

  explicit ZeroMqBlocks(const Settings& settings) : contents_(settings.bytes, settings.checksum) {}

  // One that is free. It is taken until it has been lent and has come back.
  Block* Take() {
    Block* block = nullptr;
    if (!taken_.empty() && !taken_.front()->is_lent.load(std::memory_order_acquire)) {
      block = taken_.front();
      taken_.pop_front();
    } else {
      block = &all_.emplace_back();
      block->bytes.resize(kMessageHeadBytes + contents_.bytes());
      contents_.Prepare(block->bytes.data() + kMessageHeadBytes);
    }
    taken_.push_back(block);
    return block;
  }

  static void Lend(Block* block, zmq_msg_t* message) {
    block->is_lent.store(true, std::memory_order_relaxed);
    zmq_msg_init_data(message, block->bytes.data(), block->bytes.size(), TakeBack, block);
  }

 private:
  static void TakeBack(void*, void* block) {
    static_cast<Block*>(block)->is_lent.store(false, std::memory_order_release);
  }

  Contents contents_;
  std::deque<Block> all_;
  std::deque<Block*> taken_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_ZEROMQ_BLOCKS_H_
