"""The web application: pages made on the server, no script, nothing that writes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.catalog.fetch import FetchSpec, read_picture
from vlm4rec_spark.catalog.images import PictureError, prepare
from vlm4rec_spark.errors import MissingExtraError, Vlm4RecError
from vlm4rec_spark.preview.rules import Trial, parsed, tried
from vlm4rec_spark.preview.shop import Listed, Shop
from vlm4rec_spark.preview.volume import newest_copy, picture_source

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from vlm4rec_spark.config import Config

logger = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
RESULTS = 24
NEIGHBOURS = 8
SHOPPERS = 12
PICTURE_SIDE = 360
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""A title that brings a script along finds no browser that runs it, were it ever not escaped."""


class Pages:
    """Answers requests about one shop."""

    def __init__(self, shop: Shop) -> None:
        """Prepare the templates; every value they are given is escaped."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.shop = shop
        images = shop.config.images
        fields = FetchSpec.__dataclass_fields__
        self._pictures = FetchSpec(**images.model_dump(include=set(fields)))
        self._templates = Environment(
            loader=PackageLoader("vlm4rec_spark.preview", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
        )

    def home(self, request: Request) -> Response:
        """Search by a sentence; without one, the newest items and a few shoppers."""
        sentence = request.query_params.get("q", "").strip()[:500]
        found: list[Listed] = []
        problem = ""
        if sentence:
            try:
                found = self._search(sentence)
            except Vlm4RecError as error:
                problem = str(error)
        return self._page(
            "home.html", q=sentence, found=found, problem=problem,
            newest=[] if sentence else self.shop.newest(RESULTS),
            shoppers=[] if sentence else self.shop.some_shoppers(SHOPPERS),
        )  # fmt: skip

    def item(self, request: Request) -> Response:
        """One item: pictures, what the model said, neighbours in each space."""
        item = self.shop.items([request.path_params["item_id"]]).get(request.path_params["item_id"])
        if item is None:
            return self._missing("There is no such item.")
        spaces = {s: self.shop.neighbours(item.item_id, s, NEIGHBOURS) for s in self.shop.spaces()}
        return self._page("item.html", item=item, spaces=spaces, q="")

    def shopper(self, request: Request) -> Response:
        """One shopper: the history beside the list, and rules tried on it."""
        user_id = request.path_params["user_id"]
        listed = self.shop.listed(user_id)
        history = self.shop.history(user_id)
        if not listed and not history:
            return self._missing("There is no such shopper.")
        rules = parsed(request.query_params.getlist("rule"))
        trial = Trial(listed, [], [])
        if rules:
            seen = [event.item.item_id for event in history or ()]
            trial = tried(self.shop, listed, self.shop.interests(user_id), seen, rules)
        return self._page(
            "shopper.html", user_id=user_id, history=history, trial=trial, rules=rules,
            words=self.shop.words(), q="",
        )  # fmt: skip

    def find_shopper(self, request: Request) -> Response:
        """Lead from the form to the shopper's page."""
        from urllib.parse import quote

        from starlette.responses import RedirectResponse

        user_id = request.query_params.get("user_id", "").strip()
        return RedirectResponse(f"/shopper/{quote(user_id, safe='')}" if user_id else "/")

    def picture(self, request: Request) -> Response:
        """One picture, read and decoded under the same limits as in the catalog job."""
        from starlette.responses import Response

        item_id, position = request.path_params["item_id"], request.path_params["position"]
        uri = self.shop.picture_uri(item_id, position)
        try:
            raw = read_picture(self._pictures, picture_source(self._pictures, uri))
            content = prepare(raw, PICTURE_SIDE, self._pictures.limits)
        except PictureError as error:
            logger.info("picture %d of %s: %s", position, item_id, error)
            return Response(status_code=404)
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(content, media_type=_kind(content), headers=headers)

    def style(self, _: Request) -> Response:
        """The style sheet."""
        from importlib.resources import files

        from starlette.responses import Response

        text = (files("vlm4rec_spark.preview") / "pages" / "style.css").read_text("utf-8")
        return Response(text, media_type="text/css")

    def _search(self, sentence: str) -> list[Listed]:
        from vlm4rec_spark.embeddings.encoders import encode_texts, encoder_spec

        spec = encoder_spec(self.shop.config)
        query = self.shop.matrix().placed(encode_texts(spec, [sentence]))
        return self.shop.nearest(query[0], RESULTS)

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        from starlette.responses import HTMLResponse

        return HTMLResponse(self._templates.get_template(template).render(**values), status)

    def _missing(self, message: str) -> Response:
        return self._page("missing.html", 404, message=message, q="")


def application(config: Config, host: str = LOOPBACK[0], copy: str | None = None) -> Starlette:
    """Return the application; it answers GET and HEAD only.

    Args:
        config: where the tables, the item matrix, the pictures and the log are.
        host: address it will listen on. On loopback it refuses requests under other names, so that
            a web page elsewhere cannot lead a browser here.
        copy: `publish.files.folder`, to show the newest copy in it instead of the tables.

    Raises:
        ConfigError: the tables, or the copy, are not there.
        MissingExtraError: starlette or jinja2 is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.routing import Route
    except ImportError as error:
        raise MissingExtraError(error.name or "starlette", "preview") from error
    pages = Pages(Shop(config, newest_copy(copy) if copy else None))
    allowed = list(LOOPBACK) if host in LOOPBACK else ["*"]
    return Starlette(
        routes=[
            Route("/", pages.home, methods=["GET"]),
            Route("/item/{item_id:path}", pages.item, methods=["GET"]),
            Route("/shopper", pages.find_shopper, methods=["GET"]),
            Route("/shopper/{user_id:path}", pages.shopper, methods=["GET"]),
            Route("/picture/{item_id:path}/{position:int}", pages.picture, methods=["GET"]),
            Route("/style.css", pages.style, methods=["GET"]),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=allowed),
            Middleware(_WithHeaders),
        ],
    )


class _WithHeaders:
    """Put the security headers on every answer (ASGI middleware)."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _kind(content: bytes) -> str:
    return "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"


def serve(config: Config, host: str, port: int, copy: str | None = None) -> None:
    """Serve the page until the process is interrupted."""
    app = application(config, host, copy)
    import uvicorn

    # The first search would wait for the encoder to load.
    threading.Thread(target=_load_encoder, args=(config,), daemon=True).start()
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)


def _load_encoder(config: Config) -> None:
    from vlm4rec_spark.embeddings.encoders import encoder_spec, load_encoder

    try:
        load_encoder(encoder_spec(config))
    except Vlm4RecError as error:
        logger.warning("Search by a sentence will not work: %s", error)
