-- What one unit of a price is worth in a month, in the reporting currency at the fixed rate, whatever the billing interval.
with

prices as (

    select * from {{ ref('stg_stripe__prices') }}

),

products as (

    select * from {{ ref('stg_stripe__products') }}

),

currency_rates as (

    select * from {{ ref('currency_rates') }}

),

rated as (

    select
        prices.price_id,
        products.plan_name,
        prices.currency,
        prices.billing_interval,
        -- billing periods in a month
        case prices.billing_interval
            when 'year' then {{ ratio('1', '12') }}
            when 'month' then 1
            when 'week' then {{ ratio('52', '12') }}
            when 'day' then {{ ratio('365', '12') }}
        end / coalesce(nullif(prices.billing_interval_count, 0), 1) as periods_per_month,
        cast({{ major_units('prices.unit_amount_minor', 'currency_rates.minor_digits') }} as double precision)
        * cast(currency_rates.rate_to_reporting as double precision) as period_amount
    from prices
    inner join currency_rates
        on prices.currency = currency_rates.currency
    left join products
        on prices.product_id = products.product_id

),

final as (

    select
        price_id,
        plan_name,
        currency,
        billing_interval,
        periods_per_month,
        period_amount * periods_per_month as monthly_amount
    from rated
    where periods_per_month is not null

)

select * from final
