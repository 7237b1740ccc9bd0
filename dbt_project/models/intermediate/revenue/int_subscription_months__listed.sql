-- What each subscription that counted at a month's end was worth there, before discounts: the seats of the version in
-- force, at the price that an invoice billed for that instant, else at the item's price.
with

versions as (

    select * from {{ ref('stg_stripe__subscription_versions') }}

),

subscription_items as (

    select * from {{ ref('stg_stripe__subscription_items') }}

),

invoice_lines as (

    select * from {{ ref('stg_stripe__invoice_line_items') }}

),

monthly_prices as (

    select * from {{ ref('int_prices__monthly') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

months as (

    select * from {{ ref('int_revenue_months') }}

),

-- credits say what no longer holds
lines_in_force as (

    select invoice_lines.*
    from invoice_lines
    inner join monthly_prices
        on invoice_lines.price_id = monthly_prices.price_id
    where invoice_lines.amount_minor >= 0

),

-- the version in force; should two overlap, the later one
versions_in_force as (

    select
        versions.*,
        months.month,
        months.observed_at,
        row_number() over (
            partition by versions.subscription_id, months.month
            order by versions.valid_from desc, versions.loaded_at desc
        ) as version_rank
    from versions
    inner join months
        on
            versions.valid_from <= months.observed_at
            and (versions.valid_to > months.observed_at or versions.valid_to is null)

),

-- overdue still counts; trials, unpaid, paused, incomplete and cancelled subscriptions do not
counted as (

    select
        versions_in_force.subscription_id,
        versions_in_force.stripe_customer_id,
        customers.customer_id,
        versions_in_force.month,
        versions_in_force.observed_at,
        versions_in_force.seats
    from versions_in_force
    inner join customers
        on versions_in_force.stripe_customer_id = customers.customer_id
    where
        versions_in_force.version_rank = 1
        and versions_in_force.status in ('active', 'past_due')

),

with_items as (

    select
        counted.*,
        subscription_items.subscription_item_id,
        subscription_items.price_id as item_price_id,
        subscription_items.quantity as item_quantity,
        coalesce(subscription_items.created_at <= counted.observed_at, true) as is_item_known,
        row_number() over (
            partition by counted.subscription_id, counted.month
            order by subscription_items.created_at, subscription_items.subscription_item_id
        ) as item_rank,
        sum(case when subscription_items.created_at > counted.observed_at then 0 else 1 end) over (
            partition by counted.subscription_id, counted.month
        ) as known_items
    from counted
    left join subscription_items
        on counted.subscription_id = subscription_items.subscription_id

),

-- an item that replaced another is younger than the month: the oldest stands for what was there before
items_in_force as (

    select *
    from with_items
    where
        is_item_known
        or (known_items = 0 and item_rank = 1)

),

-- of the lines that cover the instant, the one that begins last has the price
ranked_lines as (

    select
        items_in_force.*,
        lines_in_force.price_id as line_price_id,
        lines_in_force.quantity as line_quantity,
        row_number() over (
            partition by items_in_force.subscription_id, items_in_force.month, items_in_force.item_rank
            order by
                case when lines_in_force.invoice_line_item_id is null then 1 else 0 end,
                lines_in_force.period_started_at desc,
                case when lines_in_force.is_proration then 0 else 1 end,
                lines_in_force.amount_minor desc,
                lines_in_force.invoice_line_item_id desc
        ) as line_rank
    from items_in_force
    left join lines_in_force
        on
            items_in_force.subscription_id = lines_in_force.subscription_id
            and lines_in_force.period_started_at <= items_in_force.observed_at
            and lines_in_force.period_ends_at > items_in_force.observed_at
            -- where there are several items, each only takes lines of its own price
            and (items_in_force.known_items <= 1 or lines_in_force.price_id = items_in_force.item_price_id)

),

priced_items as (

    select
        subscription_id,
        stripe_customer_id,
        customer_id,
        month,
        observed_at,
        coalesce(line_price_id, item_price_id) as price_id,
        case
            when known_items <= 1 then coalesce(seats, line_quantity, item_quantity, 0)
            else coalesce(line_quantity, item_quantity, 0)
        end as quantity
    from ranked_lines
    where line_rank = 1

),

final as (

    select
        priced_items.subscription_id,
        priced_items.stripe_customer_id,
        priced_items.customer_id,
        priced_items.month,
        priced_items.observed_at,
        min(monthly_prices.plan_name) as plan_name,
        min(monthly_prices.currency) as currency,
        min(monthly_prices.periods_per_month) as periods_per_month,
        sum(priced_items.quantity) as seats,
        -- a negative quantity or price is a mistake upstream and worth nothing, and so is an amount that nobody pays
        coalesce(
            sum(case
                when
                    priced_items.quantity > 0
                    and priced_items.quantity * monthly_prices.monthly_amount between 0 and {{ threshold('believable_item_mrr') }}
                    then priced_items.quantity * monthly_prices.monthly_amount
            end), 0
        ) as monthly_amount
    from priced_items
    left join monthly_prices
        on priced_items.price_id = monthly_prices.price_id
    group by
        priced_items.subscription_id,
        priced_items.stripe_customer_id,
        priced_items.customer_id,
        priced_items.month,
        priced_items.observed_at

)

select * from final
