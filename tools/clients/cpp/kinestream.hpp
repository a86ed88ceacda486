// Decoder of the Kinestream pose stream (docs/wire.md): C++17, one header, the standard library only.
//
//   kinestream::Message message;
//   std::string error = kinestream::decode(data, size, message);   // one ZeroMQ part; empty: good
//   if (error.empty() && message.topic == "pose")
//       for (const auto& person : message.persons) person.joints_cam_m[3 * 15 + 1];
//
// Names and units are those of docs/wire.md; arrays are row after row. Nothing is thrown for bad messages, and
// no message makes it allocate more than a few times its own size.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kinestream {

constexpr std::int64_t kSchemaVersion = 1;
constexpr std::size_t kMaxMessageBytes = std::size_t{1} << 24;
constexpr std::size_t kMaxPersons = 256;

struct Camera {
  std::int64_t width_px = 0, height_px = 0;
  std::array<double, 2> focal_px{}, center_px{};
  std::vector<double> distortion;
};

struct Person {
  std::int64_t track_id = 0, age_ns = 0;
  double score = 0;
  std::string state;  // "tracked" or "coasting"
  std::array<float, 4> box_xyxy_px{};
  std::array<float, 4> root_quat_wxyz{};
  std::array<float, 3> translation_m{};
  std::array<float, 21 * 4> joint_quats_wxyz{};
  std::array<float, 10> betas{};
  std::array<float, 24 * 3> joints_cam_m{};
  std::array<float, 24> joint_std_m{};
  std::array<float, 23 * 3> keypoints_cam_m{};
  std::array<float, 23 * 3> keypoints_px{};
  std::vector<float> vertices_cam_m;  // empty unless the tracker sends the mesh
};

struct Message {
  std::string topic;  // "pose", "heartbeat" or "stats" (of which only the header is read here)
  std::string stream_id, clock_id, source;
  std::int64_t t_publish_ns = 0;
  // pose
  std::int64_t sequence = 0, frame_index = 0, t_capture_ns = 0, lead_ns = 0, dropped = 0, corrupt = 0;
  std::string clock, axes, origin = "camera";
  double tilt_rad = 0;
  double fps = 0;  // 0: not known
  Camera camera;
  std::vector<Person> persons;
  // heartbeat
  std::int64_t next_sequence = 0, t_unix_ns = 0;
};

namespace detail {

struct Bad {
  std::string why;
};

[[noreturn]] inline void fail(const std::string& why) { throw Bad{why}; }

// One msgpack value. Bytes point into the message.
struct Value {
  enum Kind { Nil, Bool, Int, Float, Text, Bytes, List, Map } kind = Nil;
  std::int64_t integer = 0;
  double number = 0;
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  std::vector<Value> items;  // of a map: key, value, key, value ...

  const Value* find(const char* key) const {
    for (std::size_t i = 0; kind == Map && i + 1 < items.size(); i += 2)
      if (items[i].size == std::strlen(key) && std::memcmp(items[i].data, key, items[i].size) == 0)
        return &items[i + 1];
    return nullptr;
  }
};

class Reader {
 public:
  Reader(const unsigned char* data, std::size_t size) : at_(data), end_(data + size) {}

  Value whole() {
    Value value = next(0);
    if (at_ != end_) fail("bytes left over");
    return value;
  }

 private:
  static constexpr std::size_t kMaxItems = 1024;
  static constexpr int kMaxDepth = 16;

  const unsigned char* take(std::size_t size) {
    if (size > static_cast<std::size_t>(end_ - at_)) fail("cut short");
    const unsigned char* start = at_;
    at_ += size;
    return start;
  }

  std::uint64_t big_endian(std::size_t size) {
    const unsigned char* bytes = take(size);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value = value << 8 | bytes[i];
    return value;
  }

  static Value integer(std::int64_t number) {
    Value value;
    value.kind = Value::Int;
    value.integer = number;
    value.number = static_cast<double>(number);
    return value;
  }

  Value natural(std::size_t size) {
    const std::uint64_t number = big_endian(size);
    if (number > static_cast<std::uint64_t>(INT64_MAX)) fail("integer beyond 63 bits");
    return integer(static_cast<std::int64_t>(number));
  }

  Value floating(double number) {
    Value value;
    value.kind = Value::Float;
    value.number = number;
    return value;
  }

  Value block(Value::Kind kind, std::size_t size) {
    Value value;
    value.kind = kind;
    value.data = take(size);
    value.size = size;
    return value;
  }

  Value list(std::size_t size, int depth) {
    if (size > kMaxItems) fail("list too long");
    Value value;
    value.kind = Value::List;
    for (std::size_t i = 0; i < size; ++i) value.items.push_back(next(depth + 1));
    return value;
  }

  Value map(std::size_t size, int depth) {
    if (size > kMaxItems) fail("map too long");
    Value value;
    value.kind = Value::Map;
    for (std::size_t i = 0; i < size; ++i) {
      value.items.push_back(next(depth + 1));
      if (value.items.back().kind != Value::Text) fail("expected text as key");
      value.items.push_back(next(depth + 1));
    }
    return value;
  }

  Value next(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    const unsigned kind = *take(1);
    if (kind < 0x80) return integer(kind);
    if (kind < 0x90) return map(kind & 15, depth);
    if (kind < 0xa0) return list(kind & 15, depth);
    if (kind < 0xc0) return block(Value::Text, kind & 31);
    if (kind >= 0xe0) return integer(static_cast<std::int64_t>(kind) - 256);
    switch (kind) {
      case 0xc0: return Value{};
      case 0xc2:
      case 0xc3: {
        Value value = integer(kind & 1);
        value.kind = Value::Bool;
        return value;
      }
      case 0xc4: return block(Value::Bytes, big_endian(1));
      case 0xc5: return block(Value::Bytes, big_endian(2));
      case 0xc6: return block(Value::Bytes, big_endian(4));
      case 0xca: {
        const auto bits = static_cast<std::uint32_t>(big_endian(4));
        float number;
        std::memcpy(&number, &bits, 4);
        return floating(number);
      }
      case 0xcb: {
        const std::uint64_t bits = big_endian(8);
        double number;
        std::memcpy(&number, &bits, 8);
        return floating(number);
      }
      case 0xcc: return natural(1);
      case 0xcd: return natural(2);
      case 0xce: return natural(4);
      case 0xcf: return natural(8);
      case 0xd0: return integer(static_cast<std::int8_t>(big_endian(1)));
      case 0xd1: return integer(static_cast<std::int16_t>(big_endian(2)));
      case 0xd2: return integer(static_cast<std::int32_t>(big_endian(4)));
      case 0xd3: return integer(static_cast<std::int64_t>(big_endian(8)));
      case 0xd9: return block(Value::Text, big_endian(1));
      case 0xda: return block(Value::Text, big_endian(2));
      case 0xdb: return block(Value::Text, big_endian(4));
      case 0xdc: return list(big_endian(2), depth);
      case 0xdd: return list(big_endian(4), depth);
      case 0xde: return map(big_endian(2), depth);
      case 0xdf: return map(big_endian(4), depth);
      default: fail("a msgpack type that has no place here");
    }
  }

  const unsigned char* at_;
  const unsigned char* end_;
};

inline const Value& need(const Value& map, const char* key, Value::Kind kind) {
  const Value* value = map.find(key);
  if (value == nullptr) fail(std::string(key) + ": missing");
  if (value->kind != kind && !(kind == Value::Float && value->kind == Value::Int))
    fail(std::string(key) + ": of another type than expected");
  return *value;
}

inline std::int64_t integer(const Value& map, const char* key) { return need(map, key, Value::Int).integer; }
inline double number(const Value& map, const char* key) { return need(map, key, Value::Float).number; }

inline std::string text(const Value& map, const char* key) {
  const Value& value = need(map, key, Value::Text);
  return std::string(reinterpret_cast<const char*>(value.data), value.size);
}

inline std::string one_of(const Value& map, const char* key, const std::vector<std::string>& allowed) {
  std::string found = text(map, key);
  for (const std::string& value : allowed)
    if (value == found) return found;
  fail(std::string(key) + ": a value that is not known here");
}

inline void floats(const Value& value, const char* key, float* out, std::size_t count) {
  if (value.kind != Value::Bytes || value.size != 4 * count) fail(std::string(key) + ": of another size");
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    for (int byte = 3; byte >= 0; --byte) bits = bits << 8 | value.data[4 * i + static_cast<std::size_t>(byte)];
    std::memcpy(out + i, &bits, 4);
    if (!std::isfinite(out[i])) fail(std::string(key) + ": expected finite numbers");
  }
}

template <std::size_t N>
void floats(const Value& map, const char* key, std::array<float, N>& out) {
  floats(need(map, key, Value::Bytes), key, out.data(), N);
}

inline std::vector<double> numbers(const Value& map, const char* key) {
  std::vector<double> values;
  for (const Value& item : need(map, key, Value::List).items) {
    if (item.kind != Value::Int && item.kind != Value::Float) fail(std::string(key) + ": expected numbers");
    values.push_back(item.number);
  }
  return values;
}

inline std::array<double, 2> pair(const Value& map, const char* key) {
  const std::vector<double> values = numbers(map, key);
  if (values.size() != 2) fail(std::string(key) + ": expected 2 numbers");
  return {values[0], values[1]};
}

inline Person person(const Value& map) {
  if (map.kind != Value::Map) fail("persons: expected maps");
  Person out;
  out.track_id = integer(map, "track_id");
  out.age_ns = integer(map, "age_ns");
  out.score = number(map, "score");
  out.state = one_of(map, "state", {"tracked", "coasting"});
  floats(map, "box_xyxy_px", out.box_xyxy_px);
  floats(map, "root_quat_wxyz", out.root_quat_wxyz);
  floats(map, "translation_m", out.translation_m);
  floats(map, "joint_quats_wxyz", out.joint_quats_wxyz);
  floats(map, "betas", out.betas);
  floats(map, "joints_cam_m", out.joints_cam_m);
  floats(map, "joint_std_m", out.joint_std_m);
  floats(map, "keypoints_cam_m", out.keypoints_cam_m);
  floats(map, "keypoints_px", out.keypoints_px);
  if (const Value* mesh = map.find("vertices_cam_m")) {
    if (mesh->kind != Value::Bytes || mesh->size % 12 != 0) fail("vertices_cam_m: of another size");
    out.vertices_cam_m.resize(mesh->size / 4);
    floats(*mesh, "vertices_cam_m", out.vertices_cam_m.data(), out.vertices_cam_m.size());
  }
  return out;
}

inline void pose(const Value& map, Message& out) {
  out.sequence = integer(map, "sequence");
  out.frame_index = integer(map, "frame_index");
  out.t_capture_ns = integer(map, "t_capture_ns");
  out.lead_ns = integer(map, "lead_ns");
  out.dropped = integer(map, "dropped");
  out.corrupt = integer(map, "corrupt");
  out.clock = one_of(map, "clock", {"media", "monotonic"});
  one_of(map, "units", {"m"});
  out.axes = one_of(map, "axes", {"opencv", "ros", "unity", "blender"});
  one_of(map, "skeleton", {"smpl-24"});
  one_of(map, "keypoints", {"coco-17+feet-6"});
  if (map.find("origin")) out.origin = one_of(map, "origin", {"camera", "hips"});
  if (map.find("tilt_rad")) out.tilt_rad = number(map, "tilt_rad");
  if (map.find("fps")) out.fps = number(map, "fps");
  const Value& camera = need(map, "camera", Value::Map);
  out.camera.width_px = integer(camera, "width_px");
  out.camera.height_px = integer(camera, "height_px");
  out.camera.focal_px = pair(camera, "focal_px");
  out.camera.center_px = pair(camera, "center_px");
  out.camera.distortion = numbers(camera, "distortion");
  const Value& persons = need(map, "persons", Value::List);
  if (persons.items.size() > kMaxPersons) fail("persons: too many");
  for (const Value& item : persons.items) out.persons.push_back(person(item));
}

}  // namespace detail

/// Read one ZeroMQ part into `out`. Returns an empty string, or what is wrong with the message.
inline std::string decode(const void* data, std::size_t size, Message& out) {
  using namespace detail;
  out = Message{};
  try {
    if (size > kMaxMessageBytes) fail("message too long");
    const auto* bytes = static_cast<const unsigned char*>(data);
    const void* zero = size ? std::memchr(bytes, 0, size) : nullptr;
    if (zero == nullptr) fail("no topic");
    const std::size_t length = static_cast<std::size_t>(static_cast<const unsigned char*>(zero) - bytes);
    out.topic.assign(reinterpret_cast<const char*>(bytes), length);
    if (out.topic != "pose" && out.topic != "heartbeat" && out.topic != "stats") fail("unknown topic");
    const Value map = Reader(bytes + length + 1, size - length - 1).whole();
    if (map.kind != Value::Map) fail("expected a map");
    if (integer(map, "version") != kSchemaVersion) fail("schema version that this client does not read");
    out.stream_id = text(map, "stream_id");
    out.clock_id = text(map, "clock_id");
    out.source = text(map, "source");
    out.t_publish_ns = integer(map, "t_publish_ns");
    if (out.topic == "pose") pose(map, out);
    if (out.topic == "heartbeat") {
      out.next_sequence = integer(map, "next_sequence");
      out.t_unix_ns = integer(map, "t_unix_ns");
    }
    return {};
  } catch (const Bad& bad) {
    return bad.why;
  }
}

}  // namespace kinestream
