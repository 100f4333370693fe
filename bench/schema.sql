-- The tables of the exchange, with their indexes; accounts of two currencies.

CREATE TABLE orders (
    id BIGINT UNSIGNED PRIMARY KEY,
    original_id BIGINT UNSIGNED NULL,
    user_id INT UNSIGNED NOT NULL,
    email VARCHAR(255) NULL,
    trade_type VARCHAR(20) NOT NULL,
    currency VARCHAR(20) NOT NULL,
    coin VARCHAR(20) NOT NULL,
    type VARCHAR(20) NOT NULL,
    status VARCHAR(20) NOT NULL,
    ioc TINYINT NOT NULL DEFAULT 0,
    quantity DECIMAL(30,10) NOT NULL,
    price DECIMAL(30,10) NULL,
    executed_quantity DECIMAL(30,10) NOT NULL DEFAULT 0,
    executed_price DECIMAL(30,10) NOT NULL DEFAULT 0,
    base_price DECIMAL(30,10) NULL,
    stop_condition VARCHAR(20) NULL,
    fee DECIMAL(30,10) NOT NULL DEFAULT 0,
    reverse_price DECIMAL(30,10) NULL,
    market_type SMALLINT UNSIGNED NOT NULL DEFAULT 0,
    budget DECIMAL(30,10) NULL,
    event BIGINT UNSIGNED NOT NULL DEFAULT 0,
    created_at BIGINT UNSIGNED NOT NULL,
    updated_at BIGINT UNSIGNED NOT NULL,
    KEY (user_id, status),
    KEY (status, trade_type, currency, coin, price),
    KEY (status, currency, coin),
    KEY (status, type),
    KEY (status, created_at),
    KEY (status, updated_at),
    KEY (user_id, created_at),
    KEY (original_id),
    KEY (status),
    KEY (updated_at)
);

CREATE TABLE order_transactions (
    id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    match_id BIGINT UNSIGNED NOT NULL,
    buy_order_id BIGINT UNSIGNED NOT NULL,
    sell_order_id BIGINT UNSIGNED NOT NULL,
    currency VARCHAR(20) NOT NULL,
    coin VARCHAR(20) NOT NULL,
    price DECIMAL(30,10) NOT NULL,
    quantity DECIMAL(30,10) NOT NULL,
    amount DECIMAL(30,10) NOT NULL,
    btc_amount DECIMAL(30,10) NOT NULL,
    status VARCHAR(20) NOT NULL,
    executed_date DATE NOT NULL,
    buy_fee DECIMAL(30,10) NOT NULL,
    sell_fee DECIMAL(30,10) NOT NULL,
    transaction_type VARCHAR(20) NULL,
    buyer_id INT UNSIGNED NOT NULL,
    buyer_email VARCHAR(255) NULL,
    seller_id INT UNSIGNED NOT NULL,
    seller_email VARCHAR(255) NULL,
    created_at BIGINT UNSIGNED NOT NULL,
    KEY (buy_order_id),
    KEY (sell_order_id),
    UNIQUE KEY (currency, coin, match_id),
    KEY (buyer_id, created_at),
    KEY (seller_id, created_at)
);

CREATE TABLE spot_usd_accounts (
    id INT UNSIGNED NOT NULL UNIQUE,
    balance DECIMAL(30,10) NOT NULL DEFAULT 0,
    available_balance DECIMAL(30,10) NOT NULL DEFAULT 0,
    usd_amount DECIMAL(30,10) NOT NULL DEFAULT 0,
    created_at BIGINT UNSIGNED NOT NULL DEFAULT 0,
    updated_at BIGINT UNSIGNED NOT NULL DEFAULT 0
);

CREATE TABLE spot_btc_accounts LIKE spot_usd_accounts;
