with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at', ties=['property_stripe_customer_id', 'property_workspace_id', 'property_domain']) }} as load_rank
    from {{ landed('hubspot', 'company', [
        'id', 'property_stripe_customer_id', 'property_workspace_id', 'property_hubspot_owner_id',
        'property_name', 'property_domain', 'property_industry', 'property_country',
        'property_lifecyclestage', 'property_numberofemployees', 'property_contract_term_months',
        'property_renewal_date', 'property_createdate',
    ]) }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as hubspot_company_id,
        property_stripe_customer_id as stripe_customer_id,
        property_workspace_id as workspace_id,
        cast(property_hubspot_owner_id as {{ dbt.type_string() }}) as owner_id,
        ---------- attributes
        property_name as company_name,
        lower(trim(property_domain)) as domain,
        property_industry as industry,
        property_country as country,
        lower(trim(property_lifecyclestage)) as lifecycle_stage,
        {{ whole_number('property_numberofemployees') }} as employees,
        {{ whole_number('property_contract_term_months') }} as contract_term_months,
        cast({{ utc_timestamp('property_renewal_date') }} as date) as renewal_date,
        _is_deleted as is_deleted,
        ---------- timestamps
        {{ utc_timestamp('property_createdate') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where
        {{ not_after_clock('created_at') }}
        and not is_deleted

)

select * from known
