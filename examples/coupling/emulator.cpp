#include "emulator.h"

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

namespace {

constexpr int64_t kInputs = 557;  // of a package, which does not say it
constexpr int64_t kOutputs = 368;
thread_local std::string last_error;

/* The message of the exception being handled, without torch's stack of calls. */
void keep_error() {
  try {
    throw;
  } catch (const c10::Error &error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception &error) {
    last_error = error.what();
  }
}

/* Values of a column, from what experiments/export.py wrote into the file: the number in "shape": ["batch", 557]. */
int64_t inputs_in(const std::string &sidecar) {
  const std::string before = "\"batch\",";
  const auto inputs = sidecar.find("\"inputs\"");
  const auto place = inputs == std::string::npos ? inputs : sidecar.find(before, inputs);
  return place == std::string::npos ? kInputs : std::stoll(sidecar.substr(place + before.size()));
}

bool ends_with(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

struct emulator {
  emulator(const std::string &file, const std::string &name) : device(name) {
    if (ends_with(file, ".pt2")) {
      package = std::make_unique<torch::inductor::AOTIModelPackageLoader>(file);
    } else {
      torch::jit::ExtraFilesMap extra{{"podium.json", ""}};
      script = torch::jit::load(file, device, extra);
      inputs = inputs_in(extra["podium.json"]);
      script.eval();
    }
  }

  at::Tensor operator()(const at::Tensor &state) {
    return package ? package->run({state})[0] : script.forward({state}).toTensor();
  }

  at::Device device;
  int64_t inputs = kInputs;
  torch::jit::Module script;
  std::unique_ptr<torch::inductor::AOTIModelPackageLoader> package;
};

emulator *emulator_load(const char *file, const char *device) {
  try {
    return new emulator(file, device);
  } catch (...) {
    keep_error();
    return nullptr;
  }
}

int emulator_run(emulator *net, const void *state, void *result, int64_t ncol, int bytes, int column_major) {
  try {
    if (bytes != 4 && bytes != 8) throw std::invalid_argument("numbers have 4 or 8 bytes");
    const c10::InferenceMode guard;
    const auto kind = at::TensorOptions().dtype(bytes == 8 ? at::kDouble : at::kFloat);
    const auto view = [&](void *memory, int64_t width) {
      const auto strides = column_major ? std::vector<int64_t>{1, ncol} : std::vector<int64_t>{width, 1};
      return at::from_blob(memory, {ncol, width}, strides, kind);
    };
    const auto input = view(const_cast<void *>(state), net->inputs).contiguous().to(net->device);
    const auto answer = (*net)(input);
    if (answer.scalar_type() != kind.dtype())
      throw std::invalid_argument("the file gives numbers of another width: --layout flat is double, e3sm is float");
    view(result, kOutputs).copy_(answer);
    return 0;
  } catch (...) {
    keep_error();
    return 1;
  }
}

void emulator_free(emulator *net) { delete net; }

const char *emulator_error(void) { return last_error.c_str(); }
