// Reads a file of messages, each after its length (4 bytes, little-endian), and prints one line for each:
// "malformed: why", or topic, sequence, times, and of every person id and all floats.
//   c++ -std=c++17 check.cpp -o check && ./check messages.bin
#include <cstdio>
#include <fstream>
#include <iterator>

#include "kinestream.hpp"

template <class Floats>
void print(const Floats& values) {
  for (float value : values) std::printf(" %.9g", static_cast<double>(value));
}

int main(int count, char** arguments) {
  if (count != 2) return 2;
  std::ifstream file(arguments[1], std::ios::binary);
  const std::vector<unsigned char> bytes((std::istreambuf_iterator<char>(file)), {});
  for (std::size_t at = 0; at + 4 <= bytes.size();) {
    const std::size_t size = bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 |
                             static_cast<std::size_t>(bytes[at + 3]) << 24;
    at += 4;
    if (size > bytes.size() - at) return 3;
    // A copy of exactly this size, so that tools which watch memory notice a read beyond its end.
    const std::vector<unsigned char> part(bytes.data() + at, bytes.data() + at + size);
    at += size;
    kinestream::Message message;
    const std::string error = kinestream::decode(part.data(), part.size(), message);
    if (!error.empty()) {
      std::printf("malformed: %s\n", error.c_str());
      continue;
    }
    std::printf("%s %lld %lld %lld %lld %lld %lld %s %s %.17g", message.topic.c_str(),
                static_cast<long long>(message.sequence), static_cast<long long>(message.t_publish_ns),
                static_cast<long long>(message.t_capture_ns), static_cast<long long>(message.lead_ns),
                static_cast<long long>(message.next_sequence), static_cast<long long>(message.t_unix_ns),
                message.axes.empty() ? "-" : message.axes.c_str(), message.origin.c_str(),
                message.camera.focal_px[1]);
    for (const auto& person : message.persons) {
      std::printf(" %lld %s %.17g", static_cast<long long>(person.track_id), person.state.c_str(), person.score);
      print(person.box_xyxy_px);
      print(person.root_quat_wxyz);
      print(person.translation_m);
      print(person.joint_quats_wxyz);
      print(person.betas);
      print(person.joints_cam_m);
      print(person.joint_std_m);
      print(person.keypoints_cam_m);
      print(person.keypoints_px);
      print(person.vertices_cam_m);
    }
    std::printf("\n");
  }
}
