-- What the discounts in force at a month's end take off a subscription. The variable `mrr_discounts` says which count:
-- `stripe` only those that last for ever, `chartmogul` every one in force.
{% set counted = var('mrr_discounts', 'stripe') %}
{% if counted not in ('stripe', 'chartmogul') %}
    {{ exceptions.raise_compiler_error(
        "dbt_project.yml: vars.mrr_discounts is '" ~ counted ~ "'; write stripe (only discounts that last for ever"
        " lower MRR) or chartmogul (every discount in force does)."
    ) }}
{% endif %}
with

subscription_months as (

    select * from {{ ref('int_subscription_months__listed') }}

),

discounts as (

    select * from {{ ref('stg_stripe__discounts') }}

),

coupons as (

    select * from {{ ref('stg_stripe__coupons') }}

),

currency_rates as (

    select * from {{ ref('currency_rates') }}

),

-- Stripe gives a discount that is used once no end: it holds for a month. Those of a single invoice are not recurring.
dated as (

    select
        discounts.discount_id,
        discounts.stripe_customer_id,
        case when discounts.discount_type = 'customer' then null else discounts.subscription_id end as subscription_id,
        discounts.started_at,
        coalesce(
            discounts.ends_at,
            case
                when coupons.duration = 'once' then {{ dbt.dateadd('month', 1, 'discounts.started_at') }}
                when coupons.duration = 'repeating'
                    then {{ dbt.dateadd('month', 'cast(coalesce(coupons.duration_in_months, 1) as integer)', 'discounts.started_at') }}
            end
        ) as ends_at,
        coupons.percent_off,
        cast({{ major_units('coupons.amount_off_minor', 'currency_rates.minor_digits') }} as double precision)
        * cast(currency_rates.rate_to_reporting as double precision) as amount_off
    from discounts
    inner join coupons
        on discounts.coupon_id = coupons.coupon_id
    left join currency_rates
        on coupons.currency = currency_rates.currency
    where
        coalesce(discounts.discount_type, 'subscription') not like 'invoice%'
        {% if counted == 'stripe' %}
        and coupons.duration = 'forever'
        {% endif %}

),

on_subscriptions as (

    select
        subscription_months.subscription_id,
        subscription_months.month,
        dated.percent_off,
        dated.amount_off
    from subscription_months
    inner join dated
        on
            subscription_months.subscription_id = dated.subscription_id
            and dated.started_at <= subscription_months.observed_at
            and (dated.ends_at > subscription_months.observed_at or dated.ends_at is null)

),

-- a customer's discount lowers every subscription that has none of its own
on_customers as (

    select
        subscription_months.subscription_id,
        subscription_months.month,
        dated.percent_off,
        dated.amount_off
    from subscription_months
    inner join dated
        on
            dated.subscription_id is null
            and subscription_months.stripe_customer_id = dated.stripe_customer_id
            and dated.started_at <= subscription_months.observed_at
            and (dated.ends_at > subscription_months.observed_at or dated.ends_at is null)
    left join on_subscriptions
        on
            subscription_months.subscription_id = on_subscriptions.subscription_id
            and subscription_months.month = on_subscriptions.month
    where on_subscriptions.subscription_id is null

),

unioned as (

    select * from on_subscriptions
    union all
    select * from on_customers

),

-- several percentages multiply: each is taken off what the others leave
final as (

    select
        subscription_id,
        month,
        case
            when max(percent_off) >= 100 then 0
            else exp(sum(ln(1 - case when percent_off between 0 and 99.9999 then cast(percent_off as double precision) else 0 end / 100)))
        end as share_left,
        sum(case when amount_off > 0 then amount_off else 0 end) as period_amount_off
    from unioned
    group by
        subscription_id,
        month

)

select * from final
