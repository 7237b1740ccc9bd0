with

source as (

    select
        *,
        {{ load_rank('deal_id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'deal', [
        'deal_id',
        'deal_pipeline_id',
        'deal_pipeline_stage_id',
        'owner_id',
        'property_dealname',
        'property_amount',
        'property_deal_currency_code',
        'property_hs_is_closed',
        'property_hs_is_closed_won',
        'property_createdate',
        'property_closedate',
    ], optional=true) }}

),

ranked_companies as (

    select
        *,
        -- a deal may name several companies; 5 marks the primary one
        row_number() over (
            partition by deal_id
            order by
                case when {{ whole_number('type_id') }} = 5 then 0 else 1 end,
                {{ utc_timestamp('_landed_at') }} desc nulls last,
                company_id
        ) as company_rank
    from {{ landed('hubspot', 'deal_company', ['deal_id', 'company_id', 'type_id'], optional=true) }}
    where not _is_deleted

),

companies as (

    select
        cast(deal_id as {{ dbt.type_string() }}) as deal_id,
        cast(company_id as {{ dbt.type_string() }}) as hubspot_company_id
    from ranked_companies
    where company_rank = 1

),

renamed as (

    select
        ---------- ids
        cast(deal_id as {{ dbt.type_string() }}) as deal_id,
        cast(owner_id as {{ dbt.type_string() }}) as owner_id,
        ---------- attributes
        property_dealname as deal_name,
        deal_pipeline_id as pipeline,
        deal_pipeline_stage_id as deal_stage,
        coalesce({{ true_or_false('property_hs_is_closed') }}, deal_pipeline_stage_id in ('closedwon', 'closedlost')) as is_closed,
        coalesce({{ true_or_false('property_hs_is_closed_won') }}, deal_pipeline_stage_id = 'closedwon') as is_won,
        {{ decimal_number('property_amount') }} as amount,
        lower(property_deal_currency_code) as currency,
        ---------- timestamps
        {{ utc_timestamp('property_createdate') }} as created_at,
        {{ utc_timestamp('property_closedate') }} as close_date,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and deal_id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

),

-- a deal that closed after the clock is still open by it
final as (

    select
        known.deal_id,
        companies.hubspot_company_id,
        known.deal_name,
        known.pipeline,
        known.deal_stage,
        coalesce(known.is_closed and known.close_date <= {{ as_of_at() }}, false) as is_closed,
        coalesce(known.is_won and known.close_date <= {{ as_of_at() }}, false) as is_won,
        known.amount,
        known.currency,
        known.owner_id,
        known.created_at,
        case when known.is_closed and known.close_date <= {{ as_of_at() }} then known.close_date end as closed_at,
        cast(known.close_date as date) as expected_close_date,
        known.loaded_at
    from known
    left join companies
        on known.deal_id = companies.deal_id

)

select * from final
