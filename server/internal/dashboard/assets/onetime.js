// What the form has for secrets of one-time codes: a QR code from a picture or from the
// camera, read in this page, and a preview of the code. Pictures and secret go nowhere.

const maxPicture = 10 << 20; // bytes
const maxPixels = 50_000_000;
const sizes = [1200, 600, 300]; // pixels of the longer side that a picture is read at

// A Refusal is what a person is told.
class Refusal extends Error {}

// readPicture returns the text of the QR code in a picture. read is jsQR.
async function readPicture(file, read) {
  if (!file.type.startsWith("image/")) throw new Refusal("This is no picture.");
  if (file.size > maxPicture) throw new Refusal(`This picture is larger than ${maxPicture >> 20} MiB. Cut out the QR code.`);
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    throw new Refusal("This picture cannot be read. PNG, JPEG and WebP can.");
  }
  try {
    if (picture.width * picture.height > maxPixels) throw new Refusal("This picture has too many pixels. Cut out the QR code.");
    for (const size of sizes) {
      const text = readPixels(picture, picture.width, picture.height, size, read, "attemptBoth");
      if (text) return text;
    }
  } finally {
    picture.close();
  }
  throw new Refusal("There is no QR code in this picture that could be read. Cut it out, with a white edge around it, and try again.");
}

function readPixels(source, width, height, size, read, inversionAttempts) {
  const scale = Math.min(1, size / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const text = read(data, canvas.width, canvas.height, { inversionAttempts })?.data;
  canvas.width = canvas.height = 0; // the pixels are the secret, too
  return text;
}

const cameraSays = {
  NotAllowedError: "The camera was refused. Allow it for this page where your browser shows the address, or choose a picture.",
  NotFoundError: "This device has no camera. Choose a picture.",
  NotReadableError: "The camera is in use by another program. Close that, or choose a picture.",
};

// startQR makes the box for QR codes work. take is given what one says, and returns why
// it is of no use, or "".
export function startQR(box, take, read = globalThis.jsQR) {
  const part = (name) => box.querySelector(`#qr-${name}`);
  const video = part("video"), said = part("said");
  let stream = null, watch = 0;

  const say = (look, text) => {
    said.className = `said ${look}`;
    said.textContent = text;
  };
  const use = async (text) => {
    const refusal = await take(text);
    say(refusal ? "bad" : "good", refusal || "Read: the secret is filled in below. Nothing was sent.");
  };
  const open = async (file) => {
    stop();
    say("info", "Reading the picture…");
    try {
      await use(await readPicture(file, read));
    } catch (problem) {
      say("bad", problem instanceof Refusal ? problem.message : "Something went wrong in this page.");
    }
  };

  function stop() {
    clearTimeout(watch);
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    part("view").hidden = true;
    part("camera").hidden = false;
  }

  function look() {
    if (stream === null) return;
    if (video.readyState >= video.HAVE_CURRENT_DATA && video.videoWidth > 0) {
      const text = readPixels(video, video.videoWidth, video.videoHeight, 640, read, "dontInvert");
      if (text) {
        stop();
        use(text);
        return;
      }
    }
    watch = setTimeout(look, 150);
  }

  async function start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      say("bad", "Browsers give the camera only to pages that came by https. Choose a picture.");
      return;
    }
    say("info", "Waiting for the camera…");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } }, audio: false });
    } catch (problem) {
      say("bad", cameraSays[problem.name] ?? "The camera could not be started. Choose a picture.");
      return;
    }
    video.srcObject = stream;
    part("view").hidden = false;
    part("camera").hidden = true;
    say("info", "Hold the QR code before the camera.");
    await video.play().catch(() => {});
    look();
  }

  part("camera").addEventListener("click", start);
  part("stop").addEventListener("click", () => {
    stop();
    say("info", "");
    part("camera").focus();
  });
  part("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) open(file);
    event.target.value = "";
  });
  const pictureOf = (data) => Array.from(data?.files ?? []).find((file) => file.type.startsWith("image/"));
  box.addEventListener("dragover", () => box.classList.add("over"));
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    box.classList.remove("over");
    const [file] = event.dataTransfer?.files ?? [];
    if (file) open(file);
  });
  addEventListener("paste", (event) => {
    const file = pictureOf(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    open(file);
  });
  addEventListener("pagehide", stop);
  return { open, stop };
}

// startPreview shows the current code of a key and its ring. now is the clock.
export function startPreview(box, makeCode, now = Date.now) {
  const part = (name) => box.querySelector(`#preview-${name}`);
  const empty = part("code").textContent, hint = part("said").textContent;
  let key = null, timer = 0;

  async function tick() {
    clearTimeout(timer);
    const shown = key;
    if (shown === null) return;
    const { value, remaining } = await makeCode(shown, now());
    if (key !== shown) return;
    const half = Math.ceil(value.length / 2);
    part("code").textContent = `${value.slice(0, half)} ${value.slice(half)}`;
    part("ring").style.strokeDashoffset = String(100 - remaining / (shown.period * 10));
    part("said").textContent = `${hint} The next one comes in ${Math.ceil(remaining / 1000)} s.`;
    timer = setTimeout(tick, remaining % 1000 + 5);
  }

  // show takes a key, or null for none.
  return function show(next) {
    key = next;
    box.classList.toggle("on", key !== null);
    if (key === null) {
      clearTimeout(timer);
      part("code").textContent = empty;
      part("said").textContent = hint;
      part("ring").style.strokeDashoffset = "100";
    } else if (!globalThis.crypto?.subtle) {
      part("said").textContent = "Browsers make codes only in pages that came by https. The secret can be stored all the same.";
    } else tick();
  };
}
