// Subscribe and print (needs libzmq, e.g. Debian's libzmq3-dev):
//   c++ -std=c++17 listen.cpp -o listen -lzmq && ./listen [tcp://127.0.0.1:5556] [keys folder]
// The folder is one that `kinestream keys FOLDER --client NAME` made.
#include <zmq.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "kinestream.hpp"

std::string key(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::string label = name + "-key = \"";
  const auto at = text.find(label);
  return at == std::string::npos ? "" : text.substr(at + label.size(), 40);
}

int main(int count, char** arguments) {
  const char* address = count > 1 ? arguments[1] : "tcp://127.0.0.1:5556";
  void* context = zmq_ctx_new();
  void* socket = zmq_socket(context, ZMQ_SUB);
  const std::int64_t limit = kinestream::kMaxMessageBytes;
  zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit);
  zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
  // A computer that lost its power never says goodbye; without these the socket would wait for it for ever.
  const int interval = 1000, silence = 3000, attempt = 2000, ipv6 = std::strchr(address, '[') != nullptr;
  zmq_setsockopt(socket, ZMQ_HEARTBEAT_IVL, &interval, sizeof interval);
  zmq_setsockopt(socket, ZMQ_HEARTBEAT_TIMEOUT, &silence, sizeof silence);
  zmq_setsockopt(socket, ZMQ_HANDSHAKE_IVL, &silence, sizeof silence);
  zmq_setsockopt(socket, ZMQ_CONNECT_TIMEOUT, &attempt, sizeof attempt);
  zmq_setsockopt(socket, ZMQ_RECONNECT_IVL_MAX, &interval, sizeof interval);
  zmq_setsockopt(socket, ZMQ_IPV6, &ipv6, sizeof ipv6);
  zmq_setsockopt(socket, ZMQ_RCVTIMEO, &silence, sizeof silence);
  if (count > 2) {
    const std::string folder = arguments[2];
    const std::string server = key(folder + "/publisher.key", "public");
    const std::string open = key(folder + "/client.key_secret", "public");
    const std::string secret = key(folder + "/client.key_secret", "secret");
    if (server.empty() || open.empty() || secret.empty()) {
      std::fprintf(stderr, "%s: expected publisher.key and client.key_secret of `kinestream keys --client`\n",
                   folder.c_str());
      return 1;
    }
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server.c_str(), server.size());
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, open.c_str(), open.size());
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret.c_str(), secret.size());
  }
  if (zmq_connect(socket, address) != 0) {
    std::fprintf(stderr, "%s: %s\n", address, zmq_strerror(zmq_errno()));
    return 1;
  }
  for (bool said = false;;) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, socket, 0) < 0) {
      zmq_msg_close(&part);
      if (zmq_errno() == EINTR) continue;
      if (zmq_errno() != EAGAIN) return 1;
      if (!said) std::fprintf(stderr, "silent for 3 s: %s; is its computer on and connected?\n", address);
      said = true;
      continue;
    }
    said = false;
    kinestream::Message message;
    const std::string error = kinestream::decode(zmq_msg_data(&part), zmq_msg_size(&part), message);
    zmq_msg_close(&part);
    if (!error.empty()) std::fprintf(stderr, "left out: %s\n", error.c_str());
    for (const auto& person : message.persons)
      std::printf("%lld: person %lld at %.2f %.2f %.2f m\n", static_cast<long long>(message.sequence),
                  static_cast<long long>(person.track_id), static_cast<double>(person.translation_m[0]),
                  static_cast<double>(person.translation_m[1]), static_cast<double>(person.translation_m[2]));
    std::fflush(stdout);
  }
}
