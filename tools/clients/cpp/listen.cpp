// Subscribe and print (needs libzmq, e.g. Debian's libzmq3-dev):
//   c++ -std=c++17 listen.cpp -o listen -lzmq && ./listen [tcp://127.0.0.1:5556] [keys folder]
// The folder is one that `kinestream keys FOLDER --client NAME` made.
#include <zmq.h>

#include <cstdio>
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
  for (;;) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, socket, 0) < 0) return 1;
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
