"""A cluster inside a web service: joins and leaves with it, says how it is, hands grains to its endpoints.

    app = FastAPI(lifespan=cluster_lifespan(cluster))
    app.mount("/health", health_app(cluster))

    @app.post("/carts/{user}/items")
    async def add(sku: str, cart: Annotated[Cart, Depends(grain(Cart, "user"))]) -> int:
        return await cart.add(sku)

`cluster_lifespan` and `health_app` are plain ASGI and need no package; `grain` is for FastAPI (extra `web`). The
server is the one that runs the application, and keeps its signals.
"""

from __future__ import annotations

from dbgrains.asgi.grains import grain, http_status
from dbgrains.asgi.health import HealthApp, health_app
from dbgrains.asgi.lifespan import cluster_lifespan

__all__ = ["HealthApp", "cluster_lifespan", "grain", "health_app", "http_status"]
