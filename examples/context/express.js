// The called side with Express, or anything else that takes its middleware.
import { withContext } from "lockdb";

/** To be used after what reads bodies: `app.use(express.json()); app.use(lockdbContext);` */
export function lockdbContext(request, _response, next) {
  withContext(request.headers["lockdb-context"], () => next());
}
