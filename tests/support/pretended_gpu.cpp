// The device "cuda" for PyTorch's CPU build; see pretended_gpu.py.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <Python.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/FakeGuardImpl.h>
#include <torch/library.h>

#include <set>
#include <string>

using at::Tensor;
using Stack = torch::jit::Stack;

// Host memory that a GPU could copy from without waiting.
static std::set<const void*> pinned;
struct PinnedAllocator : c10::Allocator {
  static void release(void* p) { pinned.erase(p); free(p); }
  c10::DataPtr allocate(size_t n) override {
    void* p = aligned_alloc(64, (n + 64) / 64 * 64);
    pinned.insert(p);
    return {p, p, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t n) const override { memcpy(to, from, n); }
};

struct Hooks : at::CUDAHooksInterface {
  Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 2; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex current_device() const override { return 0; }
  int getNumGPUs() const override { return 2; }
  bool isPinnedPtr(const void* p) const override { return pinned.count(p) > 0; }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    static PinnedAllocator own;
    return &own;
  }
};
// The CPU build has its hooks already; their functions become these.
static int replaced = [] {
  static auto* own = new Hooks(at::CUDAHooksArgs{});
  *(void**)const_cast<at::CUDAHooksInterface*>(&at::detail::getCUDAHooks()) = *(void**)own;
  return 0;
}();
C10_REGISTER_GUARD_IMPL(CUDA, c10::impl::FakeGuardImpl<c10::DeviceType::CUDA>);

static PyObject* callback = nullptr;
extern "C" void set_callback(PyObject* f) { callback = f; Py_XINCREF(f); }
static void tell(const char* kind, const std::string& name, int64_t bytes) {
  if (!callback) return;
  PyGILState_STATE state = PyGILState_Ensure();
  PyObject* out = PyObject_CallFunction(callback, "ssL", kind, name.c_str(), (long long)bytes);
  if (out) Py_DECREF(out); else PyErr_Print();
  PyGILState_Release(state);
}

// The same memory under another device.
static c10::Storage share(const c10::Storage& s, c10::Device device) {
  c10::DataPtr data(s.mutable_data(), new c10::Storage(s),
                    [](void* p) { delete static_cast<c10::Storage*>(p); }, device);
  return c10::Storage(c10::Storage::use_byte_size_t(), s.nbytes(), std::move(data),
                      c10::GetCPUAllocator(), true);
}
static Tensor make(const Tensor& like, c10::Storage storage, c10::DispatchKey key) {
  auto out = at::detail::make_tensor<c10::TensorImpl>(std::move(storage),
                                                     c10::DispatchKeySet(key), like.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(),
                                                   like.storage_offset());
  return out;
}
static Tensor to_cpu(const Tensor& t) {
  if (!t.defined() || !t.is_cuda()) return t;
  return make(t, share(t.storage(), c10::Device(c10::kCPU)), c10::DispatchKey::CPU);
}
static Tensor to_gpu(const Tensor& t, c10::Device d) {
  if (!t.defined() || t.is_cuda()) return t;
  return make(t, share(t.storage(), d), c10::DispatchKey::CUDA);
}
static c10::Device first(c10::kCUDA, 0);

// These take an index, or a scalar, that lies on the host.
static const std::set<std::string> mix = {
    "aten::index.Tensor", "aten::index_put_", "aten::_index_put_impl_", "aten::index_put",
    "aten::_unsafe_index.Tensor", "aten::where.self"};
// The size or the value of their result is known only when the device has finished.
static const std::set<std::string> waits = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2",
    "aten::unique_dim", "aten::unique_consecutive", "aten::equal", "aten::bincount",
    "aten::repeat_interleave.Tensor"};

// Run an operation on the CPU, and give its results the device of its arguments.
static void run(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const size_t n = schema.arguments().size(), begin = stack->size() - n;
  const std::vector<c10::IValue> given(stack->begin() + begin, stack->end());
  const auto& part = op.operator_name();
  const std::string name = part.name + (part.overload_name.empty() ? "" : "." + part.overload_name);
  c10::Device device = first;
  bool host = false, gpu = false, mask = false;
  auto take = [&](const Tensor& t) {
    if (t.defined() && t.is_cuda()) { gpu = true; device = t.device(); }
    else if (t.defined() && t.dim() > 0) host = true;
    return to_cpu(t);
  };
  for (size_t i = begin; i < stack->size(); i++) {
    auto& v = (*stack)[i];
    if (v.isTensor()) v = take(v.toTensor());
    else if (v.isTensorList()) {
      c10::List<Tensor> all;
      for (const Tensor& t : v.toTensorVector()) all.push_back(take(t));
      v = all;
    } else if (v.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> all;
      for (const std::optional<Tensor>& t : v.toOptionalTensorVector()) {
        mask |= t && t->defined() && t->scalar_type() == at::kBool;
        all.push_back(t && t->defined() ? std::optional(take(*t)) : t);
      }
      v = all;
    } else if (v.isDevice() && v.toDevice().is_cuda()) {
      device = v.toDevice();
      v = c10::Device(c10::kCPU);
    }
  }
  TORCH_CHECK(!(gpu && host) || mix.count(name), "Expected all tensors to be on the same device, ",
              "but found at least two devices, cuda:0 and cpu (", name, ")");
  if (mask || waits.count(name)) tell("wait", name, 0);
  op.callBoxed(stack);
  const size_t count = schema.returns().size(), end = stack->size() - count;
  for (size_t r = 0; r < count; r++) {
    auto& v = (*stack)[end + r];
    const auto* alias = schema.returns()[r].alias_info();
    if (v.isTensorList()) {
      c10::List<Tensor> all;
      for (const Tensor& t : v.toTensorVector())
        all.push_back(alias && given[0].isTensor()
                          ? make(t, given[0].toTensor().storage(), c10::DispatchKey::CUDA)
                          : to_gpu(t, device));
      v = all;
      continue;
    }
    if (!v.isTensor() || !v.toTensor().defined()) continue;
    const Tensor out = v.toTensor();
    v = to_gpu(out, device);
    for (size_t k = 0; alias && k < n; k++) {  // a view of an argument, or the argument itself
      const auto* own = schema.arguments()[k].alias_info();
      if (!own || own->beforeSets() != alias->beforeSets() || !given[k].isTensor()) continue;
      Tensor t = given[k].toTensor();
      if (alias->isWrite()) {
        if (t.is_cuda() && (t.sizes() != out.sizes() || t.strides() != out.strides())) {
          auto* impl = t.unsafeGetTensorImpl();
          impl->set_storage_keep_dtype(share(out.storage(), device));
          impl->set_sizes_and_strides(out.sizes(), out.strides(), out.storage_offset());
        }
        v = t;
      } else {
        v = t.is_cuda() ? make(out, t.storage(), c10::DispatchKey::CUDA) : out;
      }
      break;
    }
  }
}

static c10::Device on(std::optional<at::Device> d) { return d && d->has_index() ? *d : first; }
static Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> type,
                    std::optional<at::Layout> layout, std::optional<at::Device> d,
                    std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return to_gpu(at::detail::empty_cpu(C10_AS_INTARRAYREF_SLOW(size), type, layout,
                                      c10::Device(c10::kCPU), false, format), on(d));
}
static Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                            std::optional<at::ScalarType> type, std::optional<at::Layout> layout,
                            std::optional<at::Device> d, std::optional<bool>) {
  return to_gpu(at::detail::empty_strided_cpu(C10_AS_INTARRAYREF_SLOW(size),
                                              C10_AS_INTARRAYREF_SLOW(stride), type, layout,
                                              c10::Device(c10::kCPU), false), on(d));
}
static Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  if (self.is_cuda() != source.is_cuda()) {
    const Tensor& there = self.is_cuda() ? source : self;
    bool free = non_blocking && pinned.count(there.storage().data());
    tell(free ? "copy" : "wait", self.is_cuda() ? "to the device" : "to the host",
         (int64_t)source.nbytes());
  }
  to_cpu(self).copy_(to_cpu(source));
  return self;
}
static Tensor as_strided(const Tensor& t, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                         std::optional<c10::SymInt> offset) {
  Tensor out = make(t, c10::Storage(t.storage()), c10::DispatchKey::CUDA);
  out.unsafeGetTensorImpl()->set_sizes_and_strides(
      C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
      offset ? offset->expect_int() : t.storage_offset());
  return out;
}

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy_);
  m.impl("as_strided", as_strided);
  // Otherwise PyTorch takes them apart for a device that it does not know.
  for (const char* name :
       {"convolution", "convolution_backward", "native_batch_norm", "native_batch_norm_backward",
        "upsample_trilinear3d", "resize_", "max_pool2d_with_indices", "max_pool3d_with_indices",
        "index.Tensor", "masked_fill_.Scalar"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&run>());
}
