-- What a customer is expected to bring from now on, and how much more it could buy.
with

customers as (

    select * from {{ ref('int_customers__identified') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

customer_months as (

    select * from {{ ref('int_customer_months__summed') }}

),

subscription_months as (

    select * from {{ ref('int_subscription_months__priced') }}

),

lifetimes as (

    select *
    from {{ ref('int_lifetimes__expected') }}
    where month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)

),

monthly_prices as (

    select * from {{ ref('int_prices__monthly') }}

),

tiers as (

    select * from {{ ref('tiers') }}

),

potentials as (

    select * from {{ ref('potentials') }}

),

-- the plan somebody pays for, or paid for last
ranked_plans as (

    select
        customer_id,
        plan_name,
        row_number() over (
            partition by customer_id
            order by month desc, mrr desc, plan_name
        ) as recency
    from subscription_months
    where mrr > 0

),

last_plans as (

    select
        customer_id,
        plan_name
    from ranked_plans
    where recency = 1

),

plan_prices as (

    select
        plan_name,
        {{ rounded('avg(monthly_amount)', 18, 2) }} as monthly_amount
    from monthly_prices
    group by plan_name

),

plan_steps as (

    select
        lower_plans.plan_name,
        count(higher_plans.plan_name) as plans_above
    from plan_prices as lower_plans
    left join plan_prices as higher_plans
        on lower_plans.monthly_amount < higher_plans.monthly_amount
    group by lower_plans.plan_name

),

measured as (

    select
        subscribed.customer_id,
        coalesce(customer_months.end_mrr, 0) as mrr,
        coalesce(lifetimes.ltv_basis, 'base') as ltv_basis,
        coalesce(lifetimes.expected_months, {{ rounded(threshold('ltv_max_months'), 18, 2) }}) as expected_months,
        case
            when subscribed.seats_bought > 0 and customers.employees > 0
                then {{ ratio(
                    'customers.employees * ' ~ threshold('potential_addressable_share'),
                    'subscribed.seats_bought'
                ) }} * (1 + coalesce(plan_steps.plans_above, 0) * {{ threshold('potential_plan_step') }})
        end as potential_ratio
    from subscribed
    inner join customers
        on subscribed.customer_id = customers.customer_id
    left join customer_months
        on
            subscribed.customer_id = customer_months.customer_id
            and customer_months.month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)
    left join last_plans
        on subscribed.customer_id = last_plans.customer_id
    left join lifetimes
        on coalesce(last_plans.plan_name, '') = lifetimes.plan_name
    left join plan_steps
        on subscribed.plan_name = plan_steps.plan_name

),

expected as (

    select
        customer_id,
        ltv_basis,
        {{ rounded('potential_ratio', 18, 2) }} as potential_ratio,
        expected_months,
        mrr
    from measured

),

valued as (

    select
        customer_id,
        {{ rounded('mrr * expected_months * ' ~ threshold('ltv_gross_margin'), 18, 2) }} as ltv,
        ltv_basis,
        expected_months,
        potential_ratio
    from expected

),

-- the highest band whose minimum is reached
banded as (

    select
        valued.customer_id,
        max(tiers.min_ltv) as min_ltv,
        max(potentials.min_ratio) as min_ratio
    from valued
    left join tiers
        on valued.ltv >= tiers.min_ltv
    left join potentials
        on valued.potential_ratio >= potentials.min_ratio
    group by valued.customer_id

),

final as (

    select
        valued.customer_id,
        valued.ltv,
        valued.ltv_basis,
        valued.expected_months,
        tiers.tier,
        valued.potential_ratio,
        coalesce(potentials.potential, 'unknown') as potential
    from valued
    inner join banded
        on valued.customer_id = banded.customer_id
    left join tiers
        on banded.min_ltv = tiers.min_ltv
    left join potentials
        on banded.min_ratio = potentials.min_ratio

)

select * from final
