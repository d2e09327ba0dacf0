/**
 * What is sent within one turn of the event loop leaves in one frame, as one JSON array.
 *
 * @param {import("ws").WebSocket} socket
 * @returns {(message: unknown) => void}
 */
export function batcher(socket) {
  /** @type {unknown[]} */
  let batch = [];
  const flush = () => {
    const frame = JSON.stringify(batch);
    batch = [];
    if (socket.readyState === socket.OPEN) socket.send(frame);
  };
  return (message) => {
    if (batch.push(message) === 1) setImmediate(flush);
  };
}
